// dynalite throws when a client goes away in the middle of a request, which ends it for all others. Real DynamoDB
// lives through that, so here it does too: the broken request was never begun.
process.on('uncaughtException', (error) => {
  if (error.code === 'ECONNRESET' || error.message === 'aborted') return
  console.error(error)
  process.exit(1)
})
process.on('SIGINT', () => process.exit(0)) // at once: its data are gone with it anyway
