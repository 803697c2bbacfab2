import { join } from 'node:path';
import { BioOp, WRITE_AGAIN } from '@tidemark/core';
import { NbdServer } from '@tidemark/nbd/host';
import { describe, expect, it } from 'vitest';
import type { NbdDevice } from '../src/client/nbd-device.js';
import { folder, open, scripted, undo, userOf, world } from './client-fixture.js';
import { CutProxy } from './cut-proxy.js';
import { answerTo, type Script, ScriptedServer, simpleReply } from './scripted-server.js';
import { DeviceUser, endLate, patterned, randomFrom, TestDisk, waitFor } from './support.js';

describe('a lost connection', () => {
  const workload = async (user: DeviceUser): Promise<number[]> =>
    Promise.all([
      user.write(0, patterned(4096, 1)),
      user.write(8192, patterned(6000, 2)),
      user.read(60000, new Uint8Array(512)),
      user.write(30000, patterned(100, 3)),
      user.clear(BioOp.WRITE_ZEROES, 50000, 1000),
    ]);

  const isDone = (bytes: Uint8Array): boolean =>
    Buffer.from(bytes.subarray(0, 4096)).equals(patterned(4096, 1)) &&
    Buffer.from(bytes.subarray(8192, 14192)).equals(patterned(6000, 2)) &&
    Buffer.from(bytes.subarray(30000, 30100)).equals(patterned(100, 3)) &&
    bytes.subarray(50000, 51000).every((byte) => byte === 0);

  // 10,000 bytes and some of requests: every byte of the headers, and places in the payloads. 68 bytes of the handshake come first.
  const toServer = [
    ...Array.from({ length: 60 }, (_, i) => 30 + i),
    1000,
    4000,
    ...Array.from({ length: 60 }, (_, i) => 4130 + i),
    8000,
    ...Array.from({ length: 150 }, (_, i) => 10_150 + i),
  ];
  const toClient = [...Array.from({ length: 70 }, (_, i) => 75 + i), ...Array.from({ length: 40 }, (_, i) => 150 + i * 14)];

  it.each([
    ['to-server' as const, toServer],
    ['to-client' as const, toClient],
  ])('cut at any byte %s: every write lands, none is lost', async (direction, places) => {
    let nrCuts = 0;
    for (const afterBytes of places) {
      const ops = new TestDisk(world.kernel, { sizeBytes: 65536 });
      ops.bytes.fill(0xee);
      const server = await NbdServer.listen(world.kernel, { address: '127.0.0.1:0', exports: { disk: world.kernel.attach(ops) } });
      const proxy = await CutProxy.start(server.uri, [{ direction, afterBytes }]);
      const device = await world.kernel.openBlockDevice(proxy.clientUri).catch(() => null);
      if (device !== null) {
        const user = await DeviceUser.create(world.kernel, device, 8, 8192);
        expect(await workload(user), `cut after ${afterBytes} bytes`).toEqual([0, 0, 0, 0, 0]);
        expect(isDone(ops.bytes), `cut after ${afterBytes} bytes`).toBe(true);
        user.dispose();
        await device.close();
        nrCuts += proxy.nrCuts;
      }
      await proxy.stop();
      await server.close();
    }
    expect(nrCuts).toBeGreaterThan(places.length / 2); // most of these places are in the requests and replies
  });

  it('is survived again and again', async () => {
    const ops = new TestDisk(world.kernel, { sizeBytes: 65536, late: endLate(randomFrom(11)) });
    const server = await NbdServer.listen(world.kernel, { address: '127.0.0.1:0', exports: { disk: world.kernel.attach(ops) } });
    const random = randomFrom(77);
    const cuts = Array.from({ length: 60 }, (_, i) => ({
      direction: i % 2 === 0 ? ('to-server' as const) : ('to-client' as const),
      afterBytes: 400 + Math.floor(random() * 30_000),
    }));
    const proxy = await CutProxy.start(server.uri, cuts);
    undo.push(() => proxy.stop());
    const device = await open(proxy.clientUri);
    const user = await userOf(device, 8, 8192);
    const model = new Uint8Array(65536);
    for (let round = 0; round < 60; round++) {
      const statuses = await Promise.all(
        Array.from({ length: 4 }, (_, part) => {
          const offset = part * 16384 + Math.floor(random() * 8192);
          const data = patterned(1 + Math.floor(random() * 8191), round * 4 + part);
          model.set(data, offset);
          return user.write(offset, data);
        }),
      );
      expect(statuses).toEqual([0, 0, 0, 0]);
      const target = new Uint8Array(8192);
      expect(await user.read(Math.floor(random() * 8) * 8192, target)).toBe(0);
    }
    expect(Buffer.from(ops.bytes).equals(model)).toBe(true);
    expect(proxy.nrCuts).toBeGreaterThan(10);
    expect((device.ops as NbdDevice).generation).toBe(proxy.nrConnections);
  });

  it('when a server says that it shuts down, requests wait for the next one', async () => {
    let isShuttingDown = true;
    const server = await scripted({
      onRequest: (request, socket, self) => void socket.write(isShuttingDown ? simpleReply(request.cookie, 108) : answerTo(request, self)),
    });
    const user = await userOf(await open(server.uri));
    const written = user.write(0, patterned(512, 1));
    await waitFor('some attempts', () => server.nrConnections > 2);
    isShuttingDown = false;
    expect(await written).toBe(0);
  });

  it('for longer than the limit: EIO, then one attempt for a new request, which may work', async () => {
    const path = join(folder, 'gone.sock');
    const ops = new TestDisk(world.kernel, { sizeBytes: 65536 });
    const disk = world.kernel.attach(ops);
    const first = await NbdServer.listen(world.kernel, { address: `unix:${path}`, exports: { disk } });
    const device = await open(first.uri, { reconnectTimeoutMs: 150 });
    const user = await userOf(device);
    expect(await user.write(0, patterned(512, 1), true)).toBe(0);
    await first.close();
    expect(await Promise.all([user.write(0, new Uint8Array(512)), user.read(0, new Uint8Array(512)), user.flush()])).toEqual([-5, -5, -5]);
    await waitFor('no timer is left', () => world.kernel.clock.nrPendingTimers === 0);
    expect(await user.read(0, new Uint8Array(512))).toBe(-5); // one attempt, which fails
    const second = await NbdServer.listen(world.kernel, { address: `unix:${path}`, exports: { disk } });
    const target = new Uint8Array(512);
    expect(await user.read(0, target)).toBe(0);
    expect([...target]).toEqual([...patterned(512, 1)]);
    await device.close();
    await second.close();
  });

  it('to another export than before: EIO for good', async () => {
    for (const change of [{ sizeBytes: 32768 }, { flags: 0b0110_1111 }]) {
      const server = await scripted();
      const user = await userOf(await open(server.uri));
      expect(await user.write(0, new Uint8Array(512))).toBe(0);
      Object.assign(server.script, change);
      server.cut();
      expect(await user.read(0, new Uint8Array(512))).toBe(-5);
      const { nrConnections } = server;
      expect(await user.read(0, new Uint8Array(512))).toBe(-5);
      expect(server.nrConnections).toBe(nrConnections);
    }
  });
});

describe('durability over a lost connection', () => {
  async function lossy(script: Partial<Script> = {}): Promise<{ server: ScriptedServer; user: DeviceUser; lose: () => Promise<void> }> {
    const server = await scripted(script);
    const user = await userOf(await open(server.uri));
    const lose = async (): Promise<void> => {
      const { nrConnections } = server;
      server.cut();
      await waitFor('it is back', () => server.nrConnections > nrConnections);
    };
    return { server, user, lose };
  }

  it('a flush after it says "write again" once, if writes were acknowledged and not flushed', async () => {
    const { user, lose } = await lossy();
    expect(await user.write(0, new Uint8Array(512))).toBe(0);
    await lose();
    expect(await user.flush()).toBe(WRITE_AGAIN);
    expect(await user.write(0, new Uint8Array(512))).toBe(0);
    expect(await user.flush()).toBe(0);
  });

  it('says nothing of the kind if all were flushed, forced, or failed', async () => {
    const { server, user, lose } = await lossy();
    expect(await user.write(0, new Uint8Array(512))).toBe(0);
    expect(await user.flush()).toBe(0);
    expect(await user.write(0, new Uint8Array(512), true)).toBe(0);
    expect(await user.read(0, new Uint8Array(512))).toBe(0);
    server.script.onRequest = (request, socket) => void socket.write(simpleReply(request.cookie, 28));
    expect(await user.write(0, new Uint8Array(512))).toBe(-28);
    server.script.onRequest = undefined;
    await lose();
    expect(await user.flush()).toBe(0);
  });

  it('says it to the flushes that were in flight or waiting when the connection was lost', async () => {
    const { server, user } = await lossy();
    expect(await user.clear(BioOp.DISCARD, 0, 512)).toBe(0);
    server.script.onRequest = () => {};
    const flushes = [user.flush(), user.flush(), user.flush()];
    await waitFor('the flush is there', () => server.requests.some((request) => request.command === 3));
    server.script.onRequest = undefined;
    server.cut();
    expect(await Promise.all(flushes)).toEqual([WRITE_AGAIN, WRITE_AGAIN, WRITE_AGAIN]);
    expect(await user.flush()).toBe(0);
  });

  it('sends a flush in flight again if nothing can have been lost', async () => {
    const { server, user } = await lossy();
    server.script.onRequest = () => {};
    const flushed = user.flush();
    await waitFor('the flush is there', () => server.requests.length === 1);
    server.script.onRequest = undefined;
    server.cut();
    expect(await flushed).toBe(0);
    expect(server.requests.map((request) => request.command)).toEqual([3, 3]);
  });

  it('covers with a flush what was acknowledged when it was sent, and nothing after', async () => {
    const { server, user, lose } = await lossy();
    let answerFlush: (() => void) | null = null;
    server.script.onRequest = (request, socket, self) => {
      if (request.command === 3) answerFlush = () => socket.write(answerTo(request, self));
      else socket.write(answerTo(request, self));
    };
    const flushed = user.flush();
    await waitFor('the flush is there', () => answerFlush !== null);
    expect(await user.write(0, new Uint8Array(512))).toBe(0);
    (answerFlush as unknown as () => void)();
    expect(await flushed).toBe(0);
    server.script.onRequest = undefined;
    await lose();
    expect(await user.flush()).toBe(WRITE_AGAIN);
  });

  it('holds for a server that has no flush', async () => {
    const { server, user, lose } = await lossy({ flags: 1 });
    expect(await user.write(0, new Uint8Array(512))).toBe(0);
    expect(await user.flush()).toBe(0);
    expect(await user.write(0, new Uint8Array(512))).toBe(0);
    await lose();
    expect(await user.flush()).toBe(WRITE_AGAIN);
    expect(await user.flush()).toBe(0);
    expect(server.requests.some((request) => request.command === 3)).toBe(false);
  });

  it('loses no page of a user that writes again, though the server forgets what was not flushed', async () => {
    const random = randomFrom(21);
    let stable = Buffer.alloc(65536);
    const server = await scripted({
      onRequest: (request, socket, self) => {
        socket.write(answerTo(request, self));
        if (request.command === 3) stable = Buffer.from(self.bytes);
        else if (random() < 0.05) {
          self.bytes.set(stable); // restarts: what was acknowledged and not flushed is gone
          self.cut();
        }
      },
    });
    const user = await userOf(await open(server.uri));
    const model = new Uint8Array(65536);
    const held = new Map<number, Uint8Array>(); // pages that are kept until a flush has covered them
    for (let round = 0; round < 150; round++) {
      const page = Math.floor(random() * 16);
      const data = patterned(4096, round);
      held.set(page, data);
      model.set(data, page * 4096);
      expect(await user.write(page * 4096, data)).toBe(0);
      if (round % 5 !== 4) continue;
      for (let status = await user.flush(); status !== 0; status = await user.flush()) {
        expect(status).toBe(WRITE_AGAIN);
        for (const [again, bytes] of held) expect(await user.write(again * 4096, bytes)).toBe(0);
      }
      held.clear();
      expect(stable.equals(model)).toBe(true);
    }
    expect(server.nrConnections).toBeGreaterThan(3);
  });
});
