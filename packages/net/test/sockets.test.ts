import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect as rawConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, KernelError } from '@tidemark/core';
import { formatAddress, type Listener, parseAddress, type Socket } from '@tidemark/net';
import { HostTransport } from '@tidemark/net/host';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bootNet, expectClean, type Net, TestEnd, waitFor } from './support.js';

let net: Net;
let folder: string;
const ends: TestEnd[] = [];
const listeners: Listener[] = [];

beforeEach(async () => {
  net = await bootNet();
  folder = mkdtempSync(join(tmpdir(), 'tidemark-net-'));
});

afterEach(async () => {
  for (const end of ends) end.socket?.destroy();
  await Promise.all(listeners.splice(0).map((listener) => listener.close()));
  await waitFor('all sockets closed', () => ends.every((end) => end.socket === null || end.closed));
  for (const end of ends.splice(0)) end.free();
  rmSync(folder, { recursive: true, force: true });
  await expectClean(net);
});

async function newEnd(nrFrames?: number): Promise<TestEnd> {
  const end = await TestEnd.create(net, nrFrames);
  ends.push(end);
  return end;
}

interface Refusals {
  errors: KernelError[];
  accepted: TestEnd[];
}

async function listen(address: string, maxConnections = 4): Promise<Listener & Refusals> {
  const errors: KernelError[] = [];
  const accepted: TestEnd[] = [];
  const listener = await net.transport.listen(parseAddress(address), {
    maxConnections,
    accept: async () => {
      const end = await newEnd();
      accepted.push(end);
      return end;
    },
    onRefused: (error) => errors.push(error),
  });
  listeners.push(listener);
  return Object.assign(listener, { errors, accepted });
}

async function connect(listener: Listener, nrFrames?: number): Promise<TestEnd> {
  const end = await newEnd(nrFrames);
  end.socket = await net.transport.connect(listener.address, { slot: end.slot, handler: end, timeoutMs: 5000 });
  return end;
}

const addresses = (): [string, string][] => [
  ['tcp', '127.0.0.1:0'],
  ['unix', `unix:${join(folder, 'a.sock')}`],
];

describe.each(['tcp', 'unix'])('%s', (kind) => {
  const address = (): string => (addresses().find(([name]) => name === kind) as [string, string])[1];

  it('carries bytes both ways, straight into the slots', async () => {
    const listener = await listen(address());
    const client = await connect(listener);
    await waitFor('accepted', () => listener.accepted[0]?.socket != null);
    const server = listener.accepted[0];
    client.socket?.send(Uint8Array.of(1, 2, 3), null);
    (server.socket as Socket).send(Uint8Array.of(9), null);
    await waitFor('both arrive', () => server.received.length === 3 && client.received.length === 1);
    expect(server.received).toEqual([1, 2, 3]);
    expect(client.received).toEqual([9]);
    expect([...server.slot.bytes.subarray(0, 3)]).toEqual([1, 2, 3]);
  });

  it('keeps the order of a long stream that is paused, cut and read in bits', async () => {
    const listener = await listen(address());
    const client = await connect(listener, 2);
    await waitFor('accepted', () => listener.accepted[0]?.socket != null);
    const server = listener.accepted[0].socket as Socket;
    const total = 4 * 2 ** 20;
    let position = 0;
    let mismatches = 0;
    client.take = (socket) => {
      const { slot } = socket;
      const take = Math.max(1, Math.floor(slot.length * 0.9));
      for (let i = 0; i < take; i++) if (slot.bytes[slot.start + i] !== ((position + i) * 13) % 251) mismatches++;
      slot.consume(take);
      position += take;
      const pause = client.nrReceives % 7 === 0;
      if (pause) setImmediate(() => socket.resume());
      if (position + slot.length === total) position += slot.length;
      return !pause;
    };
    const chunk = new Uint8Array(65521);
    let sent = 0;
    const sendNext = (): void => {
      if (sent === total) return;
      const length = Math.min(chunk.length, total - sent);
      for (let i = 0; i < length; i++) chunk[i] = ((sent + i) * 13) % 251;
      sent += length;
      server.send(chunk.subarray(0, length), sendNext); // the same memory again, only after onSent
    };
    sendNext();
    await waitFor('all arrived', () => position === total);
    expect(mismatches).toBe(0);
  });

  it('tells when memory given to it is free, and how much is not: back-pressure', async () => {
    const listener = await listen(address());
    const client = await connect(listener);
    await waitFor('accepted', () => listener.accepted[0]?.socket != null);
    const server = listener.accepted[0];
    server.take = () => false; // never reads on
    const big = new Uint8Array(16 * 2 ** 20);
    let isSent = false;
    client.socket?.send(big, () => (isSent = true));
    await waitFor('the other end has stopped', () => server.nrReceives === 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(isSent).toBe(false);
    expect(client.socket?.nrUnsentBytes).toBe(big.length);
    server.take = (socket) => {
      socket.slot.consume(socket.slot.length);
      return true;
    };
    server.slot.consume(server.slot.length);
    (server.socket as Socket).resume();
    await waitFor('sent', () => isSent);
    expect(client.socket?.nrUnsentBytes).toBe(0);
  });

  it('closes one direction and keeps the other', async () => {
    const listener = await listen(address());
    const client = await connect(listener);
    await waitFor('accepted', () => listener.accepted[0]?.socket != null);
    const server = listener.accepted[0];
    client.socket?.send(Uint8Array.of(5), null);
    client.socket?.end();
    await waitFor('end', () => server.ended);
    expect(server.received).toEqual([5]);
    (server.socket as Socket).send(Uint8Array.of(6), null);
    (server.socket as Socket).closeWhenSent();
    await waitFor('answer and close', () => client.ended && server.closed);
    expect(client.received).toEqual([6]);
    expect(server.error).toBeNull();
  });

  it('tells the reason it was destroyed with, and says nothing more', async () => {
    const listener = await listen(address());
    const client = await connect(listener);
    const why = new KernelError('EPROTO', 'test');
    let isSent = false;
    client.socket?.send(new Uint8Array(10), () => (isSent = true));
    client.socket?.destroy(why);
    expect(client.socket?.isOpen).toBe(false);
    client.socket?.send(Uint8Array.of(1), () => (isSent = true)); // ignored
    await waitFor('closed', () => client.closed);
    expect(client.error).toBe(why);
    expect(isSent).toBe(false);
  });

  it('refuses connections beyond its bound, and takes new ones when old ones go', async () => {
    const listener = await listen(address(), 2);
    const first = await connect(listener);
    await connect(listener);
    await waitFor('two accepted', () => listener.accepted.length === 2 && listener.accepted.every((end) => end.socket !== null));
    const third = await connect(listener);
    await waitFor('the third is closed', () => third.ended || third.closed);
    expect(listener.nrConnections).toBe(2);
    expect(listener.errors.map((error) => error.code)).toEqual(['EAGAIN']);
    first.socket?.destroy();
    await waitFor('the first end has closed', () => listener.accepted[0].ended);
    (listener.accepted[0].socket as Socket).destroy();
    await waitFor('room again', () => listener.nrConnections === 1);
    await connect(listener);
    await waitFor('accepted', () => listener.accepted.length === 3);
  });

  it('refuses a connection whose memory is not there', async () => {
    const errors: KernelError[] = [];
    const listener = await net.transport.listen(parseAddress(address()), {
      maxConnections: 4,
      accept: () => Promise.reject(new KernelError('ENOMEM', 'no slot')),
      onRefused: (error) => errors.push(error),
    });
    listeners.push(listener);
    const client = await connect(listener);
    await waitFor('closed by the other side', () => client.ended || client.closed);
    expect(errors.map((error) => error.code)).toEqual(['ENOMEM']);
    await waitFor('not counted', () => listener.nrConnections === 0);
  });

  it('abandons a connection that waits for its memory when the listener closes', async () => {
    let release: (end: TestEnd) => void = () => {};
    const listener = await net.transport.listen(parseAddress(address()), {
      maxConnections: 4,
      accept: () => new Promise((resolve) => (release = resolve)),
    });
    const client = await connect(listener);
    await waitFor('accepting', () => listener.nrConnections === 1);
    await listener.close();
    const end = await newEnd();
    release(end);
    await waitFor('abandoned', () => end.abandoned);
    await waitFor('closed', () => client.ended || client.closed);
  });

  it('says ECONNREFUSED or ENOENT where nobody listens, and names the address', async () => {
    const listener = await listen(address());
    const gone = listener.address;
    await listener.close();
    const end = await newEnd();
    const attempt = net.transport.connect(gone, { slot: end.slot, handler: end, timeoutMs: 5000 });
    await expect(attempt).rejects.toMatchObject({ code: kind === 'tcp' ? 'ECONNREFUSED' : 'ENOENT' });
    await expect(attempt).rejects.toThrow(formatAddress(gone));
  });

  it('says EADDRINUSE for a second listener', async () => {
    const listener = await listen(address());
    await expect(listen(formatAddress(listener.address))).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await connect(listener); // and the first one is unharmed
  });

  it('gives up a connection when its signal aborts, before and during', async () => {
    const listener = await listen(address());
    const end = await newEnd();
    await expect(
      net.transport.connect(listener.address, { slot: end.slot, handler: end, timeoutMs: 5000, signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: 'EINTR' });
    const controller = new AbortController();
    const attempt = net.transport.connect(listener.address, { slot: end.slot, handler: end, timeoutMs: 5000, signal: controller.signal });
    controller.abort();
    await expect(attempt).rejects.toMatchObject({ code: 'EINTR' });
    expect(end.closed).toBe(false); // no socket was handed out, so none closes
  });
});

describe('unix sockets', () => {
  it('replaces the file of a server that died', async () => {
    const path = join(folder, 'dead.sock');
    spawnSync(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    const end = await newEnd();
    await expect(
      net.transport.connect(parseAddress(`unix:${path}`), { slot: end.slot, handler: end, timeoutMs: 5000 }),
    ).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const listener = await listen(`unix:${path}`);
    await connect(listener);
  });

  it('does not replace a file that is no socket', async () => {
    const path = join(folder, 'precious.txt');
    writeFileSync(path, 'data');
    await expect(listen(`unix:${path}`)).rejects.toMatchObject({ code: 'EADDRINUSE' });
    expect(readFileSync(path, 'utf8')).toBe('data');
  });

  it('says ENOENT or EACCES for a folder that is not there', async () => {
    await expect(listen(`unix:${join(folder, 'no/such/a.sock')}`)).rejects.toMatchObject({ code: expect.stringMatching(/ENOENT|EACCES/) });
  });
});

describe('tcp', () => {
  it('says ETIMEDOUT when the time limit is over first', async () => {
    const listener = await listen('127.0.0.1:0');
    const end = await newEnd();
    // A clock whose timers are over at once: no server is slow enough to rely on.
    const impatient: Clock = {
      nowMs: () => 0,
      setTimer: (_delayMs, fire) => {
        queueMicrotask(fire);
        return {};
      },
      clearTimer: () => {},
      nrPendingTimers: 0,
    };
    const attempt = new HostTransport(impatient).connect(listener.address, { slot: end.slot, handler: end, timeoutMs: 250 });
    await expect(attempt).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    await expect(attempt).rejects.toThrow('250 ms');
  });

  it('says ENXIO for a host name that does not exist', async () => {
    const end = await newEnd();
    await expect(
      net.transport.connect(parseAddress('no-such-host.invalid:9'), { slot: end.slot, handler: end, timeoutMs: 20_000 }),
    ).rejects.toMatchObject({ code: 'ENXIO' });
  });

  it('reports a reset as ECONNRESET', async () => {
    const listener = await listen('127.0.0.1:0');
    const raw = rawConnect({ port: (listener.address as { port: number }).port });
    await waitFor('accepted', () => listener.accepted[0]?.socket != null);
    raw.resetAndDestroy();
    await waitFor('closed', () => listener.accepted[0].closed);
    expect(listener.accepted[0].error?.code).toBe('ECONNRESET');
  });
});
