import AwsS3 from '@uppy/aws-s3'
import Uppy from '@uppy/core'

const MIB = 2 ** 20

/**
 * Return an Uppy that sends films to Reelmill.
 * run: what to do with each, e.g. { pipeline: 'clips', params: { cutting: { duration_s: 10 } } }.
 * partsFrom: larger films go in parts; partBytes: size of a part, at least 5 MiB.
 */
export function reelmill({ url, key, run = {}, partsFrom = 100 * MIB, partBytes = 16 * MIB }) {
  const uppy = new Uppy()
  const inParts = ({ size }) => size > partsFrom
  const partSize = ({ size }) => Math.max(partBytes, Math.ceil(size / 10_000))

  async function post(path, body) {
    const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' }
    const reply = await fetch(`${url}/api/v1/uploads/${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    const told = await reply.json()
    if (!reply.ok) throw new Error(told.detail, { cause: told }) // its code and remedy are in `cause`
    return told
  }

  const each = (act) => (ids) => Promise.all(ids.map(async (id) => {
    const file = uppy.getFile(id)
    if (!file || file.error) return // taken out, or failed before
    await act(file).catch((error) => uppy.emit('upload-error', file, error))
  }))

  uppy.addPreProcessor(each(async (file) => {
    if (file.meta.videoId) return // announced already: this is a retry
    const about = { filename: file.name, size: file.size, content_type: file.type || 'application/octet-stream' }
    const parts = inParts(file) ? { multipart: true, part_size: partSize(file) } : {}
    const begun = await post('initiate', { ...about, ...parts, ...run })
    uppy.setFileMeta(file.id, { videoId: begun.video_id, jobId: begun.job_id })
  }))

  uppy.use(AwsS3, {
    shouldUseMultipart: inParts,
    getChunkSize: partSize,
    generateObjectKey: (file) => file.meta.videoId,
    async signRequest(request) {
      const { url, headers } = await post(`${request.key}/sign`, request)
      return { url, headers } // not `key`: Uppy's stays the video's id
    },
  })

  uppy.addPostProcessor(each((file) => post('complete', { video_id: file.meta.videoId })))
  return uppy
}
