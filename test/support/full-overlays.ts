import { Overlay } from "../../src/capture/overlay.ts"
import { regionOf } from "./captured-database.ts"

/** Uses up all the room that overlays have, but for `left` MiB. */
export function fillOverlays(left = 0): Disposable {
  const [spared, overlay] = [new Overlay(), new Overlay()]
  const from = regionOf(new Uint8Array(65536))
  for (let at = 0; at < left << 20; at += 65536) spared.write(at, 65536, from, 65536, 0)
  for (let offset = 0; overlay.write(offset, 65536, from, 65536, 0); ) offset += 65536
  spared.clear()
  return { [Symbol.dispose]: () => overlay.clear() }
}
