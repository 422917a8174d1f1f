import { describe, expect, test } from "bun:test"
import { childEnvironment } from "../../src/cli/command/child-environment.ts"
import type { LiteFSOptions } from "../../src/litefs-options.ts"

const OPTIONS: LiteFSOptions = {
  fuseDir: "/litefs",
  dataDir: "/data",
  role: { kind: "primary" },
  hostname: "node-1",
  httpAddr: { host: "127.0.0.1", port: 0 },
  authToken: "secret",
  retention: { ageMs: 1, intervalMs: 1, sizeMax: 1 },
  capture: { wanted: "auto" },
  fuseDebug: false,
  log: { level: "info", format: "text" },
}

const FACTS = {
  isPrimary: false,
  isCandidate: false,
  port: 20202,
  primaryHostname: "node-2",
  primaryUrl: "http://node-2:20202",
}

describe("childEnvironment()", () => {
  test("adds facts to what is there, and no token", () => {
    const env = { PATH: "/bin", LITEFS_ROLE: "?", LITEFS_LOG_LEVEL: "debug" }
    expect(childEnvironment(env, OPTIONS, undefined, FACTS)).toEqual({
      PATH: "/bin",
      LITEFS_LOG_LEVEL: "debug",
      LITEFS_ROLE: "replica",
      LITEFS_DIR: "/litefs",
      LITEFS_FUSE_DIR: "/litefs",
      LITEFS_DATA_DIR: "/data",
      LITEFS_HOSTNAME: "node-1",
      LITEFS_URL: "http://127.0.0.1:20202",
      LITEFS_PRIMARY_HOSTNAME: "node-2",
      LITEFS_PRIMARY_URL: "http://node-2:20202",
    })
  })

  test("takes out what is not known", () => {
    const facts = { ...FACTS, primaryHostname: undefined, primaryUrl: undefined }
    const env = childEnvironment({ LITEFS_PRIMARY_URL: "http://old" }, OPTIONS, undefined, facts)
    expect(env.LITEFS_PRIMARY_URL).toBeUndefined()
  })

  test("hands on a token that is there for everybody, or else the file that has won over it", () => {
    const env = { LITEFS_AUTH_TOKEN: "secret" }
    expect(childEnvironment(env, OPTIONS, undefined, FACTS)).toMatchObject(env)
    const withFile = childEnvironment(env, OPTIONS, "/run/token", FACTS)
    expect(withFile.LITEFS_AUTH_TOKEN_FILE).toBe("/run/token")
    expect(withFile.LITEFS_AUTH_TOKEN).toBeUndefined()
  })

  test.each([
    ["", "http://127.0.0.1:5"],
    ["0.0.0.0", "http://127.0.0.1:5"],
    ["::", "http://[::1]:5"],
    ["fd00::1", "http://[fd00::1]:5"],
    ["10.0.0.1", "http://10.0.0.1:5"],
  ])("reaches an API on %j at %s", (host, url) => {
    const options = { ...OPTIONS, httpAddr: { host, port: 0 } }
    const env = childEnvironment({}, options, undefined, { ...FACTS, port: 5 })
    expect(env.LITEFS_URL).toBe(url)
  })

  test("reaches an API with TLS by the name that the certificate has", () => {
    const tls = { certPath: "/c.pem", keyPath: "/k.pem" }
    const named = { ...OPTIONS, tls, advertiseUrl: "https://node-1:20202" }
    expect(childEnvironment({}, named, undefined, FACTS)).toMatchObject({
      LITEFS_URL: "https://node-1:20202",
      LITEFS_HTTP_TLS_CERT: "/c.pem",
      LITEFS_HTTP_TLS_KEY: "/k.pem",
    })
    expect(childEnvironment({}, { ...OPTIONS, tls }, undefined, FACTS).LITEFS_URL).toBe(
      "https://127.0.0.1:20202",
    )
  })

  test("reaches an API with TLS by its socket when nobody has said that name", () => {
    const tls = { certPath: "/c.pem", keyPath: "/k.pem" }
    const facts = { ...FACTS, socketPath: "/data/api.sock" }
    expect(childEnvironment({}, { ...OPTIONS, tls }, undefined, facts).LITEFS_URL).toBe(
      "unix:/data/api.sock",
    )
    expect(childEnvironment({}, OPTIONS, undefined, facts).LITEFS_URL).toMatch(/^http:/)
  })
})
