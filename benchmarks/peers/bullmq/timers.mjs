// BullMQ's side of the work; on_bullmq.py says what is asked and reads the answers.
//
//   node timers.mjs work            stamps jobs until ended; says "ready"
//   node timers.mjs load            stdin: [[number, deadline in ms], ...]
//   node timers.mjs reset <batch> <seconds> <delay in ms>
//                                   stdin: [number, ...]; answers resets a second
import { closeSync, openSync, writeSync, readFileSync } from "node:fs";
import { Job, Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

const NAME = "timers";
const BULK = 1000;
const [word, ...words] = process.argv.slice(2);
const connection = new Redis(process.env.TIMER_REDIS_URL, { maxRetriesPerRequest: null });
const nowMs = () => performance.timeOrigin + performance.now();
const given = () => JSON.parse(readFileSync(0, "utf8"));

async function work() {
  const file = openSync(process.env.TIMER_BENCH_STAMPS, "a");
  const stamp = async (job) => {
    writeSync(file, `${job.data} ${Math.floor(nowMs() * 1000)}\n`);
  };
  const worker = new Worker(NAME, stamp, { connection, concurrency: 50 });
  process.on("SIGTERM", async () => {
    await worker.close();
    closeSync(file);
    process.exit(0);
  });
  await worker.waitUntilReady();
  console.log("ready");
}

async function load(queue) {
  const timers = given();
  for (let start = 0; start < timers.length; start += BULK) {
    const addedMs = Date.now();
    await queue.addBulk(
      timers.slice(start, start + BULK).map(([number, deadlineMs]) => ({
        name: NAME,
        data: number,
        opts: {
          jobId: `timer-${number}`,
          timestamp: addedMs,
          delay: deadlineMs - addedMs,
          removeOnComplete: true,
        },
      })),
    );
  }
}

async function reset(queue, batch, seconds, delayMs) {
  // The jobs are at hand: an application that has only an id must fetch each first.
  const jobs = given().map((number) => new Job(queue, NAME, number, {}, `timer-${number}`));
  const began = performance.now();
  let done = 0;
  do {
    const some = Array.from({ length: batch }, (_, i) => jobs[(done + i) % jobs.length]);
    await Promise.all(some.map((job) => job.changeDelay(delayMs)));
    done += batch;
  } while (performance.now() - began < seconds * 1000);
  return (done * 1000) / (performance.now() - began);
}

if (word === "work") {
  await work();
} else {
  const queue = new Queue(NAME, { connection });
  const answer = word === "load" ? await load(queue) : await reset(queue, ...words.map(Number));
  console.log(JSON.stringify(answer ?? null));
  await queue.close();
  connection.disconnect();
}
