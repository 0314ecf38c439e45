// A rank without a GPU, to be launched: waits for a signal, or does what its variable says. Arguments: what each rank does, by rank.
const { RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT } = process.env
const [what, detail] = (process.argv[2 + Number(RANK)] ?? 'wait').split('=')
// Rank 0 speaks to the terminal, which here is that of the tests.
if (RANK !== '0') process.stderr.write(`${WORLD_SIZE} ${LOCAL_RANK} ${MASTER_ADDR} ${Number(MASTER_PORT) > 0} ${process.pid}\n`)
const alive = setInterval(() => {}, 1000)
process.once('disconnect', () => process.exit(130))
if (what === 'exit') {
  if (RANK !== '0') process.stderr.write('a reason\n')
  process.exit(Number(detail))
}
if (what === 'stubborn') process.on('SIGTERM', () => {})
if (what === 'clean') {
  process.once('SIGINT', () => {
    if (RANK !== '0') process.stderr.write('asked once\n')
    setTimeout(() => process.exit(130), 50)
  })
}
if (what === 'done') {
  clearInterval(alive)
  process.channel?.unref()
}
