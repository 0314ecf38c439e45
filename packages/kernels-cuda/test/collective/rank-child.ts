import { groupPlace } from '../../src/collective/group-place.js'
import { openBackend } from '../../src/open-backend.js'
import { FakeDriver, fakeArchive } from '../fake-driver.js'
import { FakeNccl } from './fake-nccl.js'

// One rank of a group, in a process of its own, without a GPU: says when it has joined, and why it ends. Arguments: rank, size, port.
const [rank, size, port] = process.argv.slice(2).map(Number)
const archive = fakeArchive()
const driver = new FakeDriver({}, archive)
const backend = openBackend(driver, archive, 0)
await backend.join({
  place: groupPlace({ rank, size, port, timeoutSeconds: 3 }),
  findNccl: () => new FakeNccl((address, bytes) => driver.memory.at(address, bytes)),
})
console.log('joined')
const alive = setInterval(() => {}, 1000)
console.log((await backend.lost).message)
clearInterval(alive)
backend.dispose()
