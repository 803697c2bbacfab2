import { Kernel, type BlockDevice } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { nbd } from '@tidemark/nbd';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MemoryTransport } from './memory-transport.js';
import { optionReply, simpleReply } from './scripted-server.js';
import { DeviceUser, patterned, waitFor } from './support.js';

let kernel: Kernel;
let transport: MemoryTransport;
let device: BlockDevice;
let user: DeviceUser;

/** The server's side of a handshake, for an export of 1 MiB. */
async function handshake(nth: number): Promise<void> {
  await waitFor('a connection', () => transport.sockets.length > nth);
  const socket = transport.sockets[nth];
  socket.deliver(Buffer.from('NBDMAGICIHAVEOPT\0\x03', 'latin1'));
  await waitFor('GO', () => socket.sends.length === 2);
  socket.takeSends();
  const info = Buffer.alloc(12);
  info.writeBigUInt64BE(2n ** 20n, 2);
  info.writeUInt16BE(0b1101, 10);
  socket.deliver(Buffer.concat([optionReply(7, 3, info), optionReply(7, 1)]));
}

function cookie(generation: number, slot: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(generation);
  bytes.writeUInt32BE(slot, 4);
  return bytes;
}

beforeEach(async () => {
  transport = new MemoryTransport();
  kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, transport.plugin, nbd] });
  [device] = await Promise.all([kernel.openBlockDevice('nbd://memory/'), handshake(0)]);
  user = await DeviceUser.create(kernel, device);
});

afterEach(async () => {
  user.dispose();
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
});

describe('a request', () => {
  it('is over only when it is answered and the host has let go of its pages, whichever is first', async () => {
    const [socket] = transport.sockets;
    let isOver = false;
    const written = user.write(512, patterned(1024, 1)).finally(() => {
      isOver = true;
    });
    socket.deliver(simpleReply(cookie(1, 0))); // before anything is sent
    await new Promise((resolve) => setImmediate(resolve));
    expect(isOver).toBe(false);
    const sent = socket.takeSends();
    expect(Buffer.from(sent.subarray(28)).equals(patterned(1024, 1))).toBe(true);
    expect(await written).toBe(0);
  });

  it('that was answered but not sent when the connection was lost has its answer, and is not sent again', async () => {
    const [socket] = transport.sockets;
    const written = user.write(512, patterned(512, 1));
    socket.deliver(simpleReply(cookie(1, 0), 28));
    socket.destroy();
    expect(await written).toBe(-28);
    await handshake(1);
    expect(transport.sockets[1].sends).toEqual([]);
  });

  it('is sent again whole, with a cookie of the new connection, if its answer was cut', async () => {
    const [socket] = transport.sockets;
    const target = new Uint8Array(4096);
    const read = user.read(8192, target);
    expect([...socket.takeSends().subarray(8, 16)]).toEqual([...cookie(1, 0)]);
    socket.deliver(simpleReply(cookie(1, 0), 0, new Uint8Array(4000).fill(9)));
    socket.destroy();
    await handshake(1);
    const again = transport.sockets[1];
    await waitFor('it is sent again', () => again.sends.length > 0);
    expect([...again.takeSends().subarray(8, 16)]).toEqual([...cookie(2, 0)]);
    again.deliver(simpleReply(cookie(2, 0), 0, patterned(4096, 4)));
    expect(await read).toBe(0);
    expect([...target]).toEqual([...patterned(4096, 4)]);
  });

  it('takes its answer in any pieces', async () => {
    const [socket] = transport.sockets;
    const data = patterned(9728, 8);
    for (let piece = 1; piece < 40; piece += 3) {
      const targets = [new Uint8Array(9728), new Uint8Array(512)];
      const reads = targets.map((target) => user.read(0, target));
      const sent = socket.takeSends();
      const [first, second] = [sent.subarray(8, 16), sent.subarray(36, 44)];
      const answer = Buffer.concat([simpleReply(second, 0, data.subarray(0, 512)), simpleReply(first, 0, data)]);
      for (let at = 0; at < answer.length; at += piece) socket.deliver(answer.subarray(at, at + piece));
      expect(await Promise.all(reads)).toEqual([0, 0]);
      expect(targets.every((target) => Buffer.from(target).equals(data.subarray(0, target.length)))).toBe(true);
    }
  });
});

describe('the path of a request', () => {
  it('takes no frame, whatever happens on it', async () => {
    const framesBefore = kernel.meminfo().memFree;
    const [socket] = transport.sockets;
    const reads = Array.from({ length: 6 }, () => user.read(0, new Uint8Array(4096)));
    expect(kernel.meminfo().memFree).toBe(framesBefore);
    socket.destroy();
    await handshake(1);
    await waitFor('they are sent again', () => transport.sockets[1].sends.length === 6);
    expect(kernel.meminfo().memFree).toBe(framesBefore);
    const sent = transport.sockets[1].takeSends();
    for (let at = 0; at < sent.length; at += 28) transport.sockets[1].deliver(simpleReply(sent.subarray(at + 8, at + 16), 5));
    expect(await Promise.all(reads)).toEqual([-5, -5, -5, -5, -5, -5]);
    expect(kernel.meminfo().memFree).toBe(framesBefore);
  });
});
