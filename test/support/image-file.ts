/** LTX files that hold whole databases of pages of 512 bytes. */
import { imageChecksum } from "./captured-database.ts"
import { ltxFile, pageOf } from "./ltx-file.ts"

export const IMAGE_PAGE_SIZE = 512

export interface ImageFileHeader {
  readonly minTxid: bigint
  readonly maxTxid: bigint
  readonly preApplyChecksum?: bigint
}

export function imageFile(image: Uint8Array, header: ImageFileHeader): Uint8Array {
  const pages = []
  for (let pgno = 1; pgno <= image.length / IMAGE_PAGE_SIZE; pgno++) {
    const data = image.subarray((pgno - 1) * IMAGE_PAGE_SIZE, pgno * IMAGE_PAGE_SIZE)
    pages.push({ pgno, data })
  }
  return ltxFile({
    header: { ...header, pageSize: IMAGE_PAGE_SIZE },
    pages,
    postApplyChecksum: imageChecksum(image, IMAGE_PAGE_SIZE),
  })
}

/** The image, made to begin as a SQLite database does. */
export function asDatabase<T extends Uint8Array>(image: T): T {
  if (image.length > 0) pageOf(1, image.subarray(0, IMAGE_PAGE_SIZE))
  return image
}
