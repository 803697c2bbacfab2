/**
 * The built packages under plain Node: what a test runner that compiles the sources itself cannot see. Import cycles between decorated
 * classes, missing files and wrong exports show here, and what depends on the Node version (sockets that receive into memory of ours).
 *
 *     node --test test/built/smoke.mjs
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import * as core from '@tidemark/core';
import { Kernel } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { NbdServer } from '@tidemark/nbd';
import { nbd } from '@tidemark/nbd/host';
import * as net from '@tidemark/net';
import * as netHost from '@tidemark/net/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import * as testkit from '@tidemark/testkit';
import * as testkitHost from '@tidemark/testkit/host';

/** Page `index` of a pattern that no two pages share. */
function page(index) {
  const words = new Uint32Array(1024);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(index * 1024 + i, 2654435761) ^ i;
  return new Uint8Array(words.buffer);
}

/** Fills a buffer eight times as large as memory and reads it back in another order. */
async function roundTrip(kernel) {
  const nrPages = 8 * kernel.meminfo().memTotal;
  const buffer = await PagedBuffer.create(kernel, { sizeBytes: nrPages * 4096 });
  for (let i = 0; i < nrPages; i++) await buffer.write(i * 4096, page(i));
  const got = new Uint8Array(4096);
  for (let k = 0; k < nrPages; k++) {
    const i = (k * 257) % nrPages;
    await buffer.read(i * 4096, got);
    assert.equal(Buffer.compare(got, page(i)), 0, `page ${i}`);
  }
  const { pswpout, pswpin } = kernel.vmstat();
  assert(pswpout >= nrPages - kernel.meminfo().memTotal, `only ${pswpout} pages were swapped out`);
  assert(pswpin > 0);
  buffer.close();
}

async function shutDown(kernel) {
  assert.deepEqual(await kernel.shutdown(), { leakedFrames: 0, leakedTimers: 0, problems: [] });
}

test('every entry point loads', () => {
  for (const [name, module] of Object.entries({ core, net, netHost, testkit, testkitHost })) assert(Object.keys(module).length > 0, name);
});

test('swap on a RAM disk', async () => {
  const kernel = await Kernel.boot({ memory: '2MiB', plugins: [host, swap] });
  await kernel.swapOn(await kernel.openBlockDevice('mem:32MiB'), { format: true });
  await roundTrip(kernel);
  await shutDown(kernel);
});

for (const kind of ['tcp', 'unix']) {
  test(`swap over NBD on a ${kind} socket, the server in a kernel of its own`, async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-smoke-'));
    try {
      const store = path.join(folder, 'store');
      fs.writeFileSync(store, '');
      fs.truncateSync(store, 32 * 2 ** 20);
      const behind = await Kernel.boot({ memory: '8MiB', plugins: [host, nbd] });
      const address = kind === 'tcp' ? '127.0.0.1:0' : `unix:${path.join(folder, 'socket')}`;
      const server = await NbdServer.listen(behind, { address, exports: { store: await behind.openBlockDevice(store) } });
      const kernel = await Kernel.boot({ memory: '2MiB', plugins: [host, swap, nbd] });
      await kernel.swapOn(await kernel.openBlockDevice(server.uri), { format: true });
      await roundTrip(kernel);
      await shutDown(kernel);
      await shutDown(behind);
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  });
}
