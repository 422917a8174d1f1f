/**
 * How much memory is asked for: the bytes of all typed arrays and buffers that are made, also of those that are never
 * touched. Importing this counts from then on, in this thread, whatever is imported after it.
 */
let count = 0

export function countedMemory(): number {
  return count
}

const NAMES = [
  ...["Uint8Array", "Int8Array", "Uint16Array", "Int16Array", "Uint32Array", "Int32Array"],
  ...["BigUint64Array", "BigInt64Array", "Float64Array", "ArrayBuffer", "SharedArrayBuffer"],
] as const

for (const name of NAMES) {
  const original = globalThis[name] as unknown as new (size: unknown) => ArrayBufferView
  const unit = (original as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1
  const counting = new Proxy(original, {
    construct(target, args, newTarget) {
      if (typeof args[0] === "number") count += args[0] * unit
      return Reflect.construct(target, args, newTarget)
    },
  })
  Object.assign(globalThis, { [name]: counting })
}

for (const name of ["alloc", "allocUnsafe", "allocUnsafeSlow"] as const) {
  const original = Buffer[name].bind(Buffer)
  Buffer[name] = (size: number, ...rest: never[]) => {
    count += size
    return original(size, ...rest)
  }
}
