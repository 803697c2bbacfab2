import { join } from 'node:path';
import { BioOp } from '@tidemark/core';
import type { NbdOpenOptions } from '@tidemark/nbd';
import { NbdServer } from '@tidemark/nbd/host';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { folder, open, scripted, undo, userOf, world } from './client-fixture.js';
import { CutProxy } from './cut-proxy.js';
import { answerTo, blockSizeReply, optionReply, type Request, type Script, ScriptedServer, simpleReply } from './scripted-server.js';
import { DeviceUser, endLate, patterned, randomFrom, TestDisk, waitFor } from './support.js';

describe('opening', () => {
  it('takes size, block size, transfer size and abilities from the server', async () => {
    const server = await scripted({
      sizeBytes: 65536 + 100,
      blockSizes: { min: 512, preferred: 4096, max: 8192 + 512 },
      flags: 0b0000_0001,
    });
    const device = await open(server.uri);
    expect(device).toMatchObject({
      name: server.uri,
      sizeBytes: 65536,
      blockSizeBytes: 512,
      maxTransferBytes: 8192,
      readOnly: false,
      viaSocket: true,
      trusted: false,
    });
    expect(device.can).toEqual({ flush: true, fua: false, discard: false, writeZeroes: false });
  });

  it('never transfers more than the plan allows, whatever the server does', async () => {
    const device = await open((await scripted()).uri);
    expect(device.maxTransferBytes).toBe(world.kernel.memory.sizes.payloadBytes);
  });

  it('falls back to EXPORT_NAME where GO is not known, with the protocol’s own sizes', async () => {
    for (const greeting of [undefined, Buffer.from('NBDMAGICIHAVEOPT\0\x01', 'latin1'), Buffer.from('NBDMAGICIHAVEOPT\0\0', 'latin1')]) {
      const server = await scripted({ knowsGo: false, greeting });
      const device = await open(server.uri);
      expect(device).toMatchObject({ sizeBytes: 65536, blockSizeBytes: 512, maxTransferBytes: world.kernel.memory.sizes.payloadBytes });
      const user = await userOf(device, 1, 4096);
      expect(await user.write(512, patterned(512, 1))).toBe(0);
      expect(server.bytes.subarray(512, 1024).equals(patterned(512, 1))).toBe(true);
    }
  });

  it('is read-only where the server or the caller says so', async () => {
    const server = await scripted({ flags: 0b11 });
    const user = await userOf(await open(server.uri), 1, 4096);
    expect(await user.write(0, new Uint8Array(512))).toBe(-30);
    const other = await open((await scripted()).uri, { readOnly: true });
    expect(other.readOnly).toBe(true);
  });

  const info = (size: bigint, flags = 1): Buffer => {
    const data = Buffer.alloc(12);
    data.writeBigUInt64BE(size, 2);
    data.writeUInt16BE(flags, 10);
    return optionReply(7, 3, data);
  };
  const ack = optionReply(7, 1);

  it.each<[string, string, Partial<Script>]>([
    ['something that is not NBD', 'EPROTO', { greeting: Buffer.from('SSH-2.0-OpenSSH_9.2 and more\r\n') }],
    ['half a greeting', 'EPROTO', { greeting: Buffer.from('NBDMAGICxxxxxxxx\0\x03') }],
    [
      'an oldstyle greeting',
      'EPROTONOSUPPORT',
      { greeting: Buffer.concat([Buffer.from('NBDMAGIC'), Buffer.from('0000420281861253', 'hex'), Buffer.alloc(136)]) },
    ],
    ['a wrong reply magic', 'EPROTO', { goAnswer: Buffer.alloc(20, 1) }],
    ['an answer to another option', 'EPROTO', { goAnswer: optionReply(6, 1) }],
    ['ACK without a size', 'EPROTO', { goAnswer: ack }],
    ['a reply type that makes no sense', 'EPROTO', { goAnswer: optionReply(7, 2) }],
    ['information of no type', 'EPROTO', { goAnswer: optionReply(7, 3, Buffer.alloc(1)) }],
    ['export information that is too short', 'EPROTO', { goAnswer: Buffer.concat([optionReply(7, 3, Buffer.alloc(11)), ack]) }],
    ['block sizes that are too short', 'EPROTO', { goAnswer: Buffer.concat([optionReply(7, 3, Buffer.from([0, 3, 0])), ack]) }],
    ['a reply of 4 GiB', 'EPROTO', { goAnswer: Buffer.from('0003e889045565a90000000700000003ffffffff', 'hex') }],
    ['endless information', 'EPROTO', { goAnswer: Buffer.concat(Array.from({ length: 100 }, () => info(4096n))) }],
    ['an impossible size', 'EINVAL', { goAnswer: Buffer.concat([info(2n ** 63n), ack]) }],
    ['flags without the first', 'EPROTO', { goAnswer: Buffer.concat([info(4096n, 4), ack]) }],
    ['a block size of 0', 'EPROTO', { blockSizes: { min: 0, preferred: 4096, max: 65536 } }],
    ['a block size that is no power of two', 'EPROTO', { blockSizes: { min: 768, preferred: 4096, max: 65536 } }],
    [
      'a block size beyond a page',
      'EINVAL',
      { goAnswer: Buffer.concat([info(65536n), blockSizeReply({ min: 8192, preferred: 8192, max: 65536 }), ack]) },
    ],
    ['a largest payload below a page', 'EINVAL', { blockSizes: { min: 1, preferred: 512, max: 2048 } }],
    ['no such export', 'ENOENT', { goAnswer: optionReply(7, 0x80000006, Buffer.from('no \x1b[31m such')) }],
    ['refusal by policy', 'EACCES', { goAnswer: optionReply(7, 0x80000002) }],
    ['TLS required', 'EPROTONOSUPPORT', { goAnswer: optionReply(7, 0x80000005) }],
    ['shutting down', 'ESHUTDOWN', { goAnswer: optionReply(7, 0x80000007) }],
    ['an unknown error', 'EPROTO', { goAnswer: optionReply(7, 0x8000ffff) }],
  ])('fails for %s: %s', async (_what, code, script) => {
    const server = await scripted(script);
    const framesBefore = world.kernel.meminfo().memFree;
    const attempt = open(server.uri);
    await expect(attempt).rejects.toMatchObject({ code });
    await expect(attempt).rejects.toThrow(server.uri);
    await expect(attempt).rejects.not.toThrow('\x1b');
    expect(world.kernel.meminfo().memFree).toBe(framesBefore);
  });

  it.each([0, 1, 17, 18, 30, 60])('fails for a server that closes after %i bytes', async (afterBytes) => {
    const server = await scripted();
    const proxy = await CutProxy.start(server.uri, [{ direction: 'to-client', afterBytes: Math.max(afterBytes, 1) }]);
    undo.push(() => proxy.stop());
    await expect(open(proxy.clientUri)).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  it('fails for a server that is silent, in time', async () => {
    const server = await scripted({ greeting: Buffer.from('NBDMAGIC') });
    await expect(open(server.uri, { timeoutMs: 30 })).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    await expect(open(server.uri, { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({ code: 'EINTR' });
  });

  it('fails where nobody listens, for nonsense, and for TLS', async () => {
    const server = await ScriptedServer.start();
    const { uri } = server;
    await server.stop();
    await expect(open(uri)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await expect(open(`nbd+unix:///?socket=${join(folder, 'none')}`)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(open('nbd://')).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(open('nbds://localhost/')).rejects.toMatchObject({ code: 'EPROTONOSUPPORT' });
    await expect(open(uri, { reconnectTimeoutMs: -1 })).rejects.toMatchObject({ code: 'EINVAL' });
  });
});

describe('requests', () => {
  it.each([
    ['tcp', 'at once', undefined],
    ['tcp', 'late and in any order', endLate(randomFrom(3))],
    ['unix', 'late and in any order', endLate(randomFrom(4))],
  ])('do what a model does, over %s, with a disk that ends %s', async (kind, _how, late) => {
    const size = 128 * 1024;
    const ops = new TestDisk(world.kernel, { sizeBytes: size, late });
    const server = await NbdServer.listen(world.kernel, {
      address: kind === 'tcp' ? '127.0.0.1:0' : `unix:${join(folder, 'n.sock')}`,
      exports: { disk: world.kernel.attach(ops) },
    });
    const device = await open(server.uri);
    const user = await userOf(device, 12, 16384);
    const model = new Uint8Array(size);
    const operation = fc.record({
      what: fc.constantFrom('read', 'write', 'write', 'fua', 'discard', 'zero', 'flush'),
      offset: fc.nat(size - 1),
      length: fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 16384 })),
      seed: fc.nat(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 12 }), async (batch) => {
        const taken: [number, number][] = [];
        const checks: (() => void)[] = [];
        const running = batch.map(({ what, offset, length, seed }) => {
          const end = Math.min(offset + length, size);
          if (what === 'flush') return user.flush();
          if (taken.some(([from, to]) => offset < to && from < end)) return 0;
          taken.push([offset, end]);
          if (what === 'read') {
            const target = new Uint8Array(end - offset);
            checks.push(() => expect(Buffer.from(target).equals(model.subarray(offset, end))).toBe(true));
            return user.read(offset, target);
          }
          if (what === 'discard' || what === 'zero') {
            model.fill(0, offset, end);
            return user.clear(what === 'zero' ? BioOp.WRITE_ZEROES : BioOp.DISCARD, offset, end - offset);
          }
          const data = patterned(end - offset, seed);
          model.set(data, offset);
          return user.write(offset, data, what === 'fua');
        });
        expect(new Set(await Promise.all(running))).toEqual(new Set([0]));
        for (const check of checks) check();
        expect(Buffer.from(ops.bytes).equals(model)).toBe(true);
      }),
      { numRuns: 60 },
    );
    expect(ops.log.some((request) => request.op === BioOp.FLUSH)).toBe(true);
  });

  it('take replies in any order', async () => {
    const held: { request: Request; reply: Buffer }[] = [];
    const server = await scripted({
      onRequest: (request, socket, self) => {
        held.push({ request, reply: answerTo(request, self) });
        if (held.length === 6) socket.write(Buffer.concat(held.reverse().map((each) => each.reply)));
      },
    });
    const user = await userOf(await open(server.uri));
    for (let i = 0; i < 3; i++) server.bytes.fill(i + 1, i * 4096, (i + 1) * 4096);
    const targets = [0, 1, 2].map(() => new Uint8Array(4096));
    const statuses = await Promise.all([
      ...targets.map((target, i) => user.read(i * 4096, target)),
      ...targets.map((_, i) => user.write(32768 + i * 4096, new Uint8Array(4096).fill(100 + i))),
    ]);
    expect(statuses).toEqual([0, 0, 0, 0, 0, 0]);
    expect(targets.map((target) => new Set(target))).toEqual([new Set([1]), new Set([2]), new Set([3])]);
    expect([server.bytes[32768], server.bytes[36864], server.bytes[40960]]).toEqual([100, 101, 102]);
  });

  it('never have more units in flight than the plan says; the rest waits its turn, a flush does not', async () => {
    const waiting: { request: Request; answer: () => void }[] = [];
    const server = await scripted({
      onRequest: (request, socket, self) => waiting.push({ request, answer: () => socket.write(answerTo(request, self)) }),
    });
    const user = await userOf(await open(server.uri), 24, 8192);
    const { clientUnits } = world.kernel.memory.sizes;
    const order: number[] = [];
    const writes = Array.from({ length: 20 }, (_, i) =>
      user.write(i * 2048, new Uint8Array(i % 2 === 0 ? 8192 : 100)).finally(() => order.push(i)),
    );
    const flushed = user.flush();
    const units = (): number =>
      waiting.reduce((sum, { request }) => sum + (request.command === 1 ? Math.ceil(request.length / 4096) : 0), 0);
    await waitFor('the bound is reached', () => units() >= clientUnits - 1 && waiting.some(({ request }) => request.command === 3));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(units()).toBeLessThanOrEqual(clientUnits);
    let nrAnswered = 0;
    while (nrAnswered < 21) {
      await waitFor('the next request', () => waiting.length > 0);
      expect(units()).toBeLessThanOrEqual(clientUnits);
      waiting.shift()?.answer();
      nrAnswered++;
    }
    expect(await flushed).toBe(0);
    expect(await Promise.all(writes)).toEqual(writes.map(() => 0));
    expect(order).toEqual([...order].sort((a, b) => a - b));
  });

  it('pass errors of the server on', async () => {
    let error = 0;
    const server = await scripted({ onRequest: (request, socket) => void socket.write(simpleReply(request.cookie, error)) });
    const user = await userOf(await open(server.uri));
    for (const [wire, status] of [
      [1, -1],
      [5, -5],
      [12, -12],
      [22, -22],
      [28, -28],
      [75, -75],
      [95, -95],
      [777, -22],
    ]) {
      error = wire;
      expect(await user.read(0, new Uint8Array(512))).toBe(status);
      expect(await user.write(0, new Uint8Array(512))).toBe(status);
      expect(await user.flush()).toBe(status);
    }
  });

  it('send a range longer than the wire can say in parts', async () => {
    const size = 5 * 2 ** 30;
    const server = await scripted({ sizeBytes: size });
    const user = await userOf(await open(server.uri), 1, 4096);
    expect(await user.clear(BioOp.WRITE_ZEROES, 4096, size - 4096)).toBe(0);
    const parts = server.requests.map(({ command, offset, length }) => [command, offset, length]);
    expect(parts.every(([command]) => command === 6)).toBe(true);
    expect(parts.reduce((sum, [, , length]) => sum + length, 0)).toBe(size - 4096);
    let at = 4096;
    for (const [, offset, length] of parts) {
      expect(offset).toBe(at);
      at += length;
    }
  });
});

describe('a hostile server', () => {
  it.each<[string, (request: Request) => Buffer]>([
    ['replies with a wrong magic', () => Buffer.alloc(16, 7)],
    ['replies with an unknown cookie', (request) => simpleReply(Buffer.from([...request.cookie.subarray(0, 4), 0, 0, 0, 200]))],
    ['replies twice', (request) => Buffer.concat([simpleReply(request.cookie, 5), simpleReply(request.cookie, 5)])],
  ])('that %s is given up after some attempts, and ends requests with EIO', async (what, reply) => {
    const server = await scripted({ onRequest: (request, socket) => void socket.write(reply(request)) });
    const user = await userOf(await open(server.uri, { reconnectTimeoutMs: 500 }));
    if (what === 'replies twice') {
      expect(await user.read(0, new Uint8Array(512))).toBe(-5);
      await waitFor('it reconnects', () => server.nrConnections === 2);
      return;
    }
    const statuses = await Promise.all([user.read(0, new Uint8Array(4096)), user.write(0, new Uint8Array(4096)), user.flush()]);
    expect(statuses).toEqual([-5, -5, -5]);
    expect(server.nrConnections).toBe(3);
  });

  it('that replies with a cookie of another connection is not believed', async () => {
    const anothers = (request: Request): Buffer => simpleReply(Buffer.from([9, 9, 9, 9, ...request.cookie.subarray(4)]));
    const server = await scripted({ onRequest: (request, socket) => void socket.write(anothers(request)) });
    const user = await userOf(await open(server.uri, { reconnectTimeoutMs: 500 }));
    expect(await user.write(0, new Uint8Array(4096))).toBe(-5);
    expect(server.nrConnections).toBe(3);
  });

  it('that sends any bytes never breaks the client', async () => {
    let bytes: Uint8Array = new Uint8Array(0);
    const server = await scripted({ onTransmission: (socket) => void socket.write(bytes) });
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 80 }), async (noise) => {
        bytes = noise;
        const device = await world.kernel.openBlockDevice(server.uri, { reconnectTimeoutMs: 100 } as NbdOpenOptions);
        const user = await DeviceUser.create(world.kernel, device, 1, 4096);
        const status = await user.read(0, new Uint8Array(512));
        expect([0, -5]).toContain(status);
        user.dispose();
        await device.close();
      }),
      { numRuns: 30 },
    );
  });

  it('that floods the client in the handshake or after it costs no memory', async () => {
    const server = await scripted({ onTransmission: (socket) => void socket.write(Buffer.alloc(2 ** 22, simpleReply(Buffer.alloc(8)))) });
    const framesBefore = world.kernel.meminfo().memFree;
    const user = await userOf(await open(server.uri, { reconnectTimeoutMs: 200 }), 1, 4096);
    expect(await user.read(0, new Uint8Array(512))).toBe(-5);
    expect(framesBefore - world.kernel.meminfo().memFree).toBe(world.kernel.memory.sizes.slotFrames + 2);
  });

  it('that never replies is left for a new connection, and given up in the end', async () => {
    const server = await scripted({ onRequest: () => {} });
    const user = await userOf(await open(server.uri, { requestTimeoutMs: 50, reconnectTimeoutMs: 300 }));
    expect(await user.read(0, new Uint8Array(512))).toBe(-5);
    expect(server.nrConnections).toBeGreaterThan(1);
  });
});

describe('closing', () => {
  it('says DISC when idle', async () => {
    const server = await scripted();
    const device = await open(server.uri);
    await device.close();
    await waitFor('DISC', () => server.requests.at(-1)?.command === 2);
  });

  it('ends what is in flight with EIO, and what comes later too', async () => {
    const server = await scripted({ onRequest: () => {} });
    const device = await open(server.uri);
    const user = await userOf(device, 16, 4096);
    const open8 = Array.from({ length: 12 }, (_, i) => user.write(i * 4096, new Uint8Array(4096)));
    const flushed = user.flush();
    await waitFor('they are there', () => server.requests.length >= 8);
    await device.close();
    expect(await Promise.all([...open8, flushed])).toEqual(Array.from({ length: 13 }, () => -5));
    expect(await user.read(0, new Uint8Array(512))).toBe(-5);
  });

  it('does not wait for a server that is gone', async () => {
    const server = await scripted();
    const device = await open(server.uri);
    const user = await userOf(device);
    await server.stop();
    const read = user.read(0, new Uint8Array(512));
    await new Promise((resolve) => setTimeout(resolve, 60));
    await device.close();
    expect(await read).toBe(-5);
  });
});
