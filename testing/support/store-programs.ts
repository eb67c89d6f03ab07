// Builds the stores that tests run on, where they are not there yet, and prints where: `minio=/…`, `mc=/…`, `versitygw=/…`.
// Usage: node testing/support/store-programs.ts [minio|versitygw …]
import { findStore } from '../../services/cli/install-store.ts'
import { findPaths } from '../../services/cli/paths.ts'
import { explain } from '../../services/cli/say.ts'

const asked = process.argv.slice(2)
const { toolsDir } = findPaths({})
try {
  for (const flavour of ['minio', 'versitygw'] as const) {
    if (asked.length > 0 && !asked.includes(flavour)) continue
    const { server, admin } = await findStore(flavour, toolsDir)
    process.stdout.write(`${flavour}=${server}\n${flavour === 'minio' ? `mc=${admin}\n` : ''}`)
  }
} catch (error) {
  process.stderr.write(explain(error))
  process.exitCode = 1
}
