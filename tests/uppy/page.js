// The page of tests/e2e/test_uppy.py: a user's own, with as little around reelmill.js as can be.
import GoldenRetriever from '@uppy/golden-retriever'
import { reelmill } from './reelmill.js'

const uppy = reelmill(JSON.parse(decodeURIComponent(location.hash.slice(1)))).use(GoldenRetriever)
document.querySelector('input').addEventListener('change', (event) => {
  uppy.addFiles([...event.target.files])
  event.target.value = '' // so that the same file can be chosen again
})
window.uppy = uppy
