// What `make clean` removes below .run, and what it leaves.
import { expect } from 'chai'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { listBuilt, removeBuilt } from '../../../services/cli/go-build.ts'
import { createNativeRuntime } from '../../../services/cli/native.ts'
import { findPaths } from '../../../services/cli/paths.ts'
import { claimRunFolder } from '../../../services/cli/run-folder.ts'
import { ensureSecrets, removeSecrets } from '../../../services/cli/secrets.ts'
import { FatalError } from '../../../services/shared/errors.ts'
import { rejection } from '../../support/rejection.ts'

describe('cleaning a native deployment', () => {
  let root: string
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'clean-'))
  })
  afterEach(() => rmSync(root, { recursive: true }))

  const make = (...folders: string[]) => {
    for (const folder of folders) mkdirSync(join(root, folder), { recursive: true })
  }
  const clean = async (env: Record<string, string> = {}) => {
    const paths = findPaths(env, root)
    await createNativeRuntime(paths).clean()
    return paths
  }

  it('keeps the programs that were built, without what a killed build has left', async () => {
    make('.run/store/minio', '.run/log', '.run/bin/minio@v1.0.0', '.run/bin/build-4194999/cache')
    writeFileSync(join(root, '.run/settings.json'), '{}')
    const { toolsDir } = await clean()

    expect(readdirSync(join(root, '.run'))).to.deep.equal(['bin'])
    expect(listBuilt(toolsDir)).to.deep.equal(['minio@v1.0.0'])
    removeBuilt(toolsDir)
    expect(readdirSync(root)).to.deep.equal([])
  })

  it('keeps them for the other run folders when it is asked to clean one of those', async () => {
    make('.run/bin/minio@v1.0.0', 'elsewhere')
    claimRunFolder(findPaths({ RUN_DIR: join(root, 'elsewhere') }, root))
    make('elsewhere/store')
    writeFileSync(join(root, 'elsewhere/env'), '')
    const { toolsDir } = await clean({ RUN_DIR: join(root, 'elsewhere') })

    expect(existsSync(join(root, 'elsewhere'))).to.equal(false)
    expect(listBuilt(toolsDir)).to.deep.equal(['minio@v1.0.0'])
  })

  it('removes nothing of a folder that no deploy has marked', async () => {
    make('home/store', 'home/letters')
    const RUN_DIR = join(root, 'home')

    expect(await rejection(clean({ RUN_DIR }))).to.be.instanceOf(FatalError)
    expect(() => claimRunFolder(findPaths({ RUN_DIR }, root))).to.throw(FatalError, /store/)
    expect(readdirSync(RUN_DIR)).to.have.members(['store', 'letters'])
  })

  it('does not take the settings or ports of another program for a mark', async () => {
    make('app/store')
    const RUN_DIR = join(root, 'app')
    writeFileSync(join(RUN_DIR, 'settings.json'), '{"theme":"dark"}')
    writeFileSync(join(RUN_DIR, 'ports.json'), '{"http":8080}')

    expect(await rejection(clean({ RUN_DIR }))).to.be.instanceOf(FatalError)
    expect(() => claimRunFolder(findPaths({ RUN_DIR }, root))).to.throw(FatalError, /store/)
    writeFileSync(join(RUN_DIR, 'ports.json'), 'http: 8080\n')
    expect(await rejection(clean({ RUN_DIR }))).to.be.instanceOf(FatalError)
    writeFileSync(join(RUN_DIR, 'ports.json'), '{"amqps":5671}')
    writeFileSync(join(RUN_DIR, 'log'), 'of another program')
    expect(await rejection(clean({ RUN_DIR }))).to.be.instanceOf(FatalError)
    expect(readdirSync(RUN_DIR)).to.have.members(['store', 'settings.json', 'ports.json', 'log'])
  })

  it('leaves what others keep in a folder that a deploy has marked', async () => {
    make('home/letters')
    const RUN_DIR = join(root, 'home')
    claimRunFolder(findPaths({ RUN_DIR }, root))
    make('home/store')

    await clean({ RUN_DIR })

    expect(readdirSync(RUN_DIR)).to.deep.equal(['letters'])
  })

  it('leaves folders named as those of tests, which only the own folder of the checkout has', async () => {
    make('home')
    const RUN_DIR = join(root, 'home')
    claimRunFolder(findPaths({ RUN_DIR }, root))
    make('home/build-4194999', 'home/test-4194999', '.run/test-4194999')

    await clean({ RUN_DIR })
    await clean()

    expect(readdirSync(RUN_DIR)).to.have.members(['build-4194999', 'test-4194999'])
    expect(existsSync(join(root, '.run'))).to.equal(false)
  })

  it("takes its secrets out of an env file, and leaves the owner's settings in it", async () => {
    const file = join(root, 'env')
    const own =
      '# for the reports\nPUBLISH_URL=https://reports.example/verdicts\nMY_APP_TOKEN=keep\n'
    writeFileSync(file, own)

    expect(removeSecrets(file)).to.deep.equal(['PUBLISH_URL', 'MY_APP_TOKEN'])
    expect(readFileSync(file, 'utf8')).to.equal(own)
    ensureSecrets(file)
    expect(removeSecrets(file)).to.deep.equal(['PUBLISH_URL', 'MY_APP_TOKEN'])
    expect(readFileSync(file, 'utf8')).to.equal(own)
    rmSync(file)
    ensureSecrets(file)
    expect(removeSecrets(file)).to.deep.equal([])
    expect(existsSync(file)).to.equal(false)
  })

  it('leaves nothing where nothing was built', async () => {
    make('.run/store')
    const { toolsDir } = await clean()

    expect(readdirSync(root)).to.deep.equal([])
    removeBuilt(toolsDir)
    expect(listBuilt(toolsDir)).to.deep.equal([])
  })
})
