/**
 * Which node is the primary after every order of starts and failures, who reads what then, and where every row is that
 * was acknowledged. A primary that is paused while another is made, and one that stops: promote.mount.test.ts; nodes
 * that are killed in a handoff: handoff-kill.mount.test.ts.
 *
 * `a` is started with `--primary` first, `b` and `c` follow it. A row is named by its word.
 */
import { expect } from "bun:test"
import { failureOf, sqlite3Command } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { NamedCluster, type Outcome, type StartOptions } from "../support/named-cluster.ts"

const STAYS = ["--no-handoff-on-exit"]
const A: StartOptions = { flags: STAYS }
const B: StartOptions = { follows: "a", flags: ["--candidate", ...STAYS] }

/** Both have the row "1". */
async function begin(cluster: NamedCluster, ...others: (readonly [string, StartOptions])[]) {
  await cluster.start("a", A)
  cluster.create("a")
  cluster.write("a", "1")
  for (const [name, options] of others) await cluster.start(name, options)
  for (const [name] of others) await cluster.reads(name, "1")
}

/** `a` has the row "tail", which `b` does not have, and is dead; `b` is the primary by force, with the row "new". */
async function forced(cluster: NamedCluster, options = B): Promise<void> {
  await begin(cluster, ["b", B])
  await cluster.stop("b")
  cluster.write("a", "tail")
  await cluster.stop("a", "SIGKILL")
  await cluster.start("b", options)
  expect(await cluster.force("b")).toMatch(/^200 This node is the primary from here on/)
  cluster.write("b", "new")
}

/** `b` has the role from `a`, and the row "2". */
async function handedOver(cluster: NamedCluster): Promise<void> {
  await begin(cluster, ["b", B])
  expect(await cluster.promote("b")).toBe("200 ")
  cluster.write("b", "2")
  await cluster.reads("a", "1,2")
}

/** Of two records of one epoch that of the node with the higher id is newer. */
function newer(cluster: NamedCluster, one: string, other: string): string {
  return cluster.idOf(one) > cluster.idOf(other) ? one : other
}

const ROWS: readonly [
  situation: string,
  run: (cluster: NamedCluster) => Promise<unknown>, // may resolve with what the outcome is otherwise
  outcome: Outcome,
][] = [
  [
    "the primary is killed and comes back",
    async (cluster) => {
      await begin(cluster, ["b", B])
      await cluster.stop("a", "SIGKILL")
      await cluster.start("a", A)
      cluster.write("a", "2")
    },
    { primaries: ["a"], reads: { a: "1,2", b: "1,2" } },
  ],
  [
    "after a handoff all stop, and the former primary starts first",
    async (cluster) => {
      await handedOver(cluster)
      for (const name of ["a", "b"]) await cluster.stop(name)
      await cluster.start("a", A)
      await cluster.start("b", B)
      await cluster.reads("b", "1,2")
      cluster.write("b", "3")
    },
    { primaries: ["b"], reads: { a: "1,2,3", b: "1,2,3" } },
  ],
  [
    "after a handoff all stop, and the new primary starts first",
    async (cluster) => {
      await handedOver(cluster)
      for (const name of ["a", "b"]) await cluster.stop(name)
      await cluster.start("b", B)
      cluster.write("b", "3")
      await cluster.start("a", A)
    },
    { primaries: ["b"], reads: { a: "1,2,3", b: "1,2,3" } },
  ],
  [
    "after a handoff all stop, and the primary stays away",
    async (cluster) => {
      await handedOver(cluster)
      for (const name of ["a", "b"]) await cluster.stop(name, "SIGKILL")
      await cluster.start("a", A)
    },
    {
      primaries: [],
      reads: { a: "1,2" },
      says: [["a", /lease record overrides the flags/]],
    },
  ],
  [
    "after a handoff the former primary comes back with --promote, and starts its command at once",
    async (cluster) => {
      await handedOver(cluster)
      await cluster.stop("a")
      cluster.write("b", "3")
      const a = await cluster.start("a", { flags: [...STAYS, "--promote", "--skip-sync"] })
      await a.logged(/this node is the primary/)
      cluster.write("a", "4")
    },
    { primaries: ["a"], reads: { a: "1,2,3,4", b: "1,2,3,4" } },
  ],
  [
    "another is forced, and the old primary comes back and is told",
    async (cluster) => {
      await forced(cluster)
      await cluster.start("a", A)
    },
    {
      primaries: ["b"],
      reads: { a: "1,new", b: "1,new" },
      kept: { a: "1,tail" },
      says: [
        ["a", /level=warn .*another node has become the primary/],
        ["a", /level=warn .*has diverged from the primary's/],
        ["b", /another node has been told who is the primary/],
      ],
    },
  ],
  [
    "another is forced, and the old primary comes back and asks",
    async (cluster) => {
      await forced(cluster)
      const a = await cluster.start("a", { ...A, peers: ["b"] })
      expect(a.output).toContain("role=replica")
    },
    { primaries: ["b"], reads: { a: "1,new", b: "1,new" }, kept: { a: "1,tail" } },
  ],
  [
    "another is forced and dies, the old primary comes back, asks in vain and goes on, then the other comes back",
    async (cluster) => {
      await forced(cluster)
      await cluster.stop("b", "SIGKILL")
      await cluster.start("a", { ...A, peers: ["b"] })
      cluster.write("a", "alone")
      await cluster.start("b", B)
    },
    {
      primaries: ["b"],
      reads: { a: "1,new", b: "1,new" },
      kept: { a: "1,alone,tail" },
      says: [["a", /level=warn .*no peer answers, believing --primary/]],
    },
  ],
  [
    "a stale node is forced, and one that had more follows it",
    async (cluster) => {
      const c = { ...B, peers: ["b"] }
      await begin(cluster, ["b", B], ["c", c])
      await cluster.stop("b")
      cluster.write("a", "2")
      await cluster.reads("c", "1,2")
      await cluster.stop("a", "SIGKILL")
      await cluster.start("b", B)
      expect(await cluster.force("b")).toContain("not been in sync with it since it was started")
      cluster.write("b", "new")
    },
    {
      primaries: ["b"],
      reads: { b: "1,new", c: "1,new" },
      kept: { c: "1,2" },
      says: [["c", /level=warn .*has diverged from the primary's/]],
    },
  ],
  [
    "two are forced at the same time, and know of each other",
    async (cluster) => {
      await begin(cluster, ["b", { ...B, peers: ["c"] }], ["c", { ...B, peers: ["b"] }])
      await cluster.stop("a", "SIGKILL")
      const answers = await Promise.all(["b", "c"].map((name) => cluster.force(name)))
      // The one that gives way may hear of the other before it has answered.
      expect(answers.filter((answer) => answer.startsWith("200"))).not.toBeEmpty()
      for (const answer of answers) {
        expect(answer).toMatch(/^(200|503 another node has become the primary)/)
      }
      return { primaries: [newer(cluster, "b", "c")] }
    },
    { primaries: [], reads: { b: "1", c: "1" } },
  ],
  [
    "two are forced who know nothing of each other, take rows, and one comes to know of the other",
    async (cluster) => {
      await begin(cluster, ["b", B], ["c", B])
      await cluster.stop("a", "SIGKILL")
      for (const name of ["b", "c"]) {
        await cluster.force(name)
        cluster.write(name, name)
      }
      await cluster.stop("c", "SIGKILL")
      await cluster.start("c", { ...B, peers: ["b"] })
      const winner = newer(cluster, "b", "c")
      const rows = `1,${winner}`
      const [loser, lost] = winner === "b" ? ["c", "1,c"] : ["b", "1,b"]
      return { primaries: [winner], reads: { b: rows, c: rows }, kept: { [loser]: lost } }
    },
    { primaries: [], reads: {} },
  ],
  [
    "an empty node joins with --promote",
    async (cluster) => {
      await begin(cluster, ["b", B])
      const c = await cluster.start("c", {
        ...B,
        flags: [...STAYS, "--promote"],
        command: ["sleep", "60"],
      })
      await c.logged(/command started/)
      cluster.write("c", "2")
    },
    { primaries: ["c"], reads: { a: "1,2", b: "1,2", c: "1,2" } },
  ],
  [
    "an empty node with --promote, while the primary is away, which then comes",
    async (cluster) => {
      await begin(cluster)
      await cluster.stop("a")
      const c = await cluster.start("c", {
        ...B,
        flags: [...STAYS, "--promote"],
        command: ["sleep", "60"],
      })
      expect(await cluster.force("c")).toBe(
        "409 not eligible to become primary: it has never followed a primary\n",
      )
      await cluster.start("a", A)
      await c.logged(/command started/)
      cluster.write("c", "2")
    },
    { primaries: ["c"], reads: { a: "1,2", c: "1,2" } },
  ],
  [
    "a replica comes back with an empty directory",
    async (cluster) => {
      await begin(cluster, ["b", B])
      await cluster.stop("b")
      cluster.wipe("b")
      await cluster.start("b", B)
    },
    { primaries: ["a"], reads: { a: "1", b: "1" } },
  ],
  [
    "the primary comes back with an empty directory, and asks: it does not start until somebody else is the primary",
    async (cluster) => {
      await begin(cluster, ["b", B])
      await cluster.stop("a")
      cluster.wipe("a")
      const a = { ...A, peers: ["b"] }
      expect(await cluster.refused("a", a)).toMatch(
        /Cannot start: there is nothing in the data directory, and http.* has been in a cluster, LFSC.*: to go on .*litefs promote --force/,
      )
      expect(await cluster.force("b")).toStartWith("200")
      await cluster.start("a", a)
    },
    { primaries: ["b"], reads: { a: "1", b: "1" } },
  ],
  [
    "the primary comes back with an empty directory, and cannot know: it begins a cluster, which nobody follows",
    async (cluster) => {
      await begin(cluster, ["b", B])
      await cluster.stop("a")
      cluster.wipe("a")
      await cluster.start("a", A)
    },
    {
      primaries: ["a"],
      reads: { a: "nothing", b: "1" },
      says: [
        [
          "a",
          /level=error .*a node of another cluster takes this one for its primary.*was the data directory here emptied\? Then \S+ has the data/,
        ],
        [
          "b",
          /level=warn .*it belongs to cluster (?!.*promote).*, or the data directory there was emptied/,
        ],
      ],
    },
  ],
  [
    "the primary comes back with an empty directory, and says so where one looks, until another is forced and it joins",
    async (cluster) => {
      await begin(cluster, ["b", B])
      await cluster.stop("a")
      cluster.wipe("a")
      const a = await cluster.start("a", A)
      await a.logged(/a node of another cluster takes this one for its primary/)
      const health = await (await fetch(`${a.url}/health`)).json()
      const problem = expect.stringMatching(/is in cluster .* has the data$/)
      expect(health).toMatchObject({ status: "degraded", lastProblem: { problem } })
      expect(await cluster.force("b")).toMatch(
        /^200 .*it may have begun a cluster of its own and does not follow: stop it, remove that\ndirectory, and start it with --primary-url http:/s,
      )
      await cluster.stop("a")
      cluster.wipe("a")
      await cluster.start("a", { ...A, follows: "b" })
    },
    { primaries: ["b"], reads: { a: "1", b: "1" } },
  ],
  [
    "the primary of the record comes back with an empty directory: nobody is the primary, until one with data is forced",
    async (cluster) => {
      await handedOver(cluster)
      await cluster.stop("b")
      cluster.wipe("b")
      const b = await cluster.start("b", B)
      await b.logged(/level=error .*its data directory is gone, so nobody is the primary/)
      expect(await cluster.force("b")).toStartWith("409 not eligible")
      await cluster.check({ primaries: [], reads: { a: "1,2", b: "nothing" } })
      expect(await cluster.force("a")).toStartWith("200")
    },
    { primaries: ["a"], reads: { a: "1,2", b: "1,2" } },
  ],
  [
    "the primary comes back from a backup, and a replica has more",
    async (cluster) => {
      await begin(cluster, ["b", B])
      await cluster.stop("a")
      cluster.copy("a", "c")
      await cluster.start("a", A)
      cluster.write("a", "2")
      await cluster.reads("b", "1,2")
      await cluster.stop("a")
      cluster.copy("c", "a")
      await cluster.start("a", A)
    },
    {
      primaries: ["a"],
      reads: { a: "1", b: "1" },
      kept: { b: "1,2" },
      says: [["b", /level=warn .*has diverged from the primary's/]],
    },
  ],
  [
    "a former primary comes back from a backup that knows nothing of the handoff, and asks",
    async (cluster) => {
      await begin(cluster)
      await cluster.stop("a")
      cluster.copy("a", "c")
      await cluster.start("a", A)
      await cluster.start("b", B)
      await cluster.reads("b", "1")
      expect(await cluster.promote("b")).toBe("200 ")
      cluster.write("b", "2")
      await cluster.stop("a")
      cluster.copy("c", "a")
      await cluster.start("a", { ...A, peers: ["b"] })
    },
    { primaries: ["b"], reads: { a: "1,2", b: "1,2" } },
  ],
  [
    "two nodes are started with --primary, and the second asks the first",
    async (cluster) => {
      await begin(cluster)
      expect(await cluster.refused("b", { peers: ["a"] })).toContain(
        "is started with --primary too",
      )
      await cluster.start("b", { ...B, peers: ["a"] })
    },
    { primaries: ["a"], reads: { a: "1", b: "1" } },
  ],
  [
    "a copy of the primary's directory follows it",
    async (cluster) => {
      await begin(cluster)
      await cluster.stop("a")
      cluster.copy("a", "b")
      await cluster.start("a", A)
      await cluster.start("b", B)
      cluster.write("a", "2")
      expect(await cluster.promote("b")).toStartWith("503")
    },
    {
      primaries: ["a"],
      reads: { a: "1,2", b: "1" },
      says: [
        ["a", /level=error .*another node has the id of this one.*remove lease.json from the copy/],
        ["b", /level=error .*another node has the id of this one.*remove lease.json from the copy/],
      ],
    },
  ],
  [
    "a copy of the directory of the primary of the record does not start",
    async (cluster) => {
      await handedOver(cluster)
      await cluster.stop("b")
      cluster.copy("b", "c")
      await cluster.start("b", B)
      expect(await cluster.refused("c", B)).toMatch(/Cannot start: http.* has this node's id/)
    },
    { primaries: ["b"], reads: { a: "1,2", b: "1,2" } },
  ],
  [
    "a copy of a replica's directory follows beside it, and the role goes to the replica",
    async (cluster) => {
      await begin(cluster, ["b", B])
      await cluster.stop("b")
      cluster.copy("b", "c")
      await cluster.start("b", B)
      await cluster.reads("b", "1")
      await cluster.start("c", B)
      await cluster.node("a").logged(/level=error .*two nodes have the same id/)
      await cluster.node("c").logged(/answered 503: .* has the id of /)
      expect(await cluster.promote("b")).toBe("200 ")
      cluster.write("b", "2")
      await cluster.stop("c")
    },
    { primaries: ["b"], reads: { a: "1,2", b: "1,2" } },
  ],
  [
    "a copy of the primary's directory is forced while the primary is away, which comes back and takes no writes",
    async (cluster) => {
      await begin(cluster)
      await cluster.stop("a")
      cluster.copy("a", "b")
      await cluster.start("a", A)
      cluster.write("a", "2")
      await cluster.stop("a")
      await cluster.start("b", B)
      expect(await cluster.force("b")).toStartWith("200")
      cluster.write("b", "copy")
      const a = await cluster.start("a", A)
      await a.logged(/level=error .*a copy of this node .*remove lease.json from the copy/)
      await a.logged(/this node is a replica/)
      expect(failureOf(sqlite3Command(a, "a.db"), "insert into t values('lost')")).not.toBe("")
      await cluster.stop("a")
      await cluster.stop("b")
      cluster.removeLease("b")
      await cluster.start("a", A)
      await cluster.start("b", B)
    },
    { primaries: ["a"], reads: { a: "1,2", b: "1,2" }, kept: { b: "1,copy" } },
  ],
  [
    "the only other node has some of the databases, and the primary stops",
    async (cluster) => {
      await begin(cluster)
      await cluster.start("b", { follows: "a", flags: ["--databases", "a.db"] })
      await cluster.reads("b", "1")
      for (const ask of [cluster.promote("b"), cluster.force("b")]) {
        expect(await ask).toBe(
          "409 not eligible to become primary: it has some of the databases only\n",
        )
      }
      await cluster.stop("a")
      await cluster.start("a", {})
      await cluster.stop("a")
    },
    { primaries: [], reads: { b: "1" } },
  ],
]

test.each(ROWS)(
  "%s",
  async (_, run, outcome) => {
    await using cluster = await NamedCluster.create("abc")
    const found = await run(cluster)
    await cluster.check({ ...outcome, ...(found as Partial<Outcome> | undefined) })
  },
  60_000,
)
