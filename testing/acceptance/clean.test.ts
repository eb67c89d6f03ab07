// `make clean` asks before it removes what somebody needs, wherever in the store that lies.
import { expect } from 'chai'
import { deployNative, runCli, storeRoot } from '../support/deployment.ts'
import { noClamd } from '../support/real-clamd.ts'
import { noMinio } from '../support/real-store.ts'
import { rejection } from '../support/rejection.ts'
import { samples } from '../support/samples.ts'
import { noTlsRabbitmq } from '../support/tls-rabbitmq.ts'
import { createUploader } from '../support/uploader.ts'

for (const flavour of ['minio', 'versitygw'] as const) {
  const why = noTlsRabbitmq ?? noClamd ?? (flavour === 'minio' ? noMinio : undefined)
  if (why !== undefined) console.log(`skipped: make clean on ${flavour}: ${why}`)

  describe(`make clean, with ${flavour}`, function () {
    this.timeout(180_000)

    it('finds what is not of the demo, also under its prefix and in a bucket that is not scanned', async function () {
      if (why !== undefined) this.skip()
      const deployment = await deployNative({ flavour })
      try {
        const { env } = deployment
        const uploader = createUploader(deployment.uploader)
        const root = storeRoot(deployment)
        await uploader.put('demo/20261127T190446-8ed842/clean.txt', samples.clean())
        const refusal = async () => (await rejection(runCli(['clean'], env))).message

        await root.client.makeBucket('archive')
        await root.client.putObject('archive', 'contract.txt', samples.clean())
        expect(await refusal()).to.contain('for instance s3://archive/contract.txt')
        await root.client.removeObject('archive', 'contract.txt')

        await uploader.put('demo/report.txt', samples.clean())
        expect(await refusal()).to.contain(`for instance s3://${uploader.bucket}/demo/report.txt`)
      } finally {
        await deployment.stop()
      }
    })
  })
}
