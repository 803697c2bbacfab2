/** Hosts outside the simulator: in real time, in no kernel, and two ends in one kernel. */
import { CLOCK, Kernel, KernelError, RANDOM } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { NbdServer, nbd } from '@tidemark/nbd';
import { bareHost, clockPhysics, PACKET_TRANSPORT, PacketNetwork, packetTransport, type PacketTransport } from '@tidemark/net';
import { describe, expect, it } from 'vitest';

/** A network in real time, on a clock that is no kernel's. */
async function realNetwork(): Promise<{ network: PacketNetwork; clockOwner: Kernel }> {
  const clockOwner = await Kernel.boot({ memory: '1MiB', plugins: [host] });
  const { container } = clockOwner;
  return { network: new PacketNetwork(clockPhysics(container.resolve(CLOCK), container.resolve(RANDOM)), { mtuBytes: 4082 }), clockOwner };
}

/** Bytes as they were written, through a device. */
async function writeAndRead(kernel: Kernel, url: string): Promise<void> {
  const device = await kernel.openBlockDevice(url);
  const cache = kernel.cacheDevice(device);
  const bytes = new Uint8Array(200_000).map((_, i) => (i * 7) >> 3);
  await cache.write(4096, bytes);
  await cache.sync();
  const back = new Uint8Array(bytes.length);
  await cache.read(4096, back);
  expect(Buffer.compare(bytes, back)).toBe(0);
}

describe('in real time', () => {
  it('NBD works from one kernel to another, and both leave nothing behind', async () => {
    const { network, clockOwner } = await realNetwork();
    const server = await Kernel.boot({ memory: '4MiB', plugins: [host, nbd, packetTransport(network, { name: 'server' })] });
    await NbdServer.listen(server, { address: 'server:10809', exports: { disk: await server.openBlockDevice('mem:1MiB') } });
    const client = await Kernel.boot({ memory: '4MiB', plugins: [host, nbd, packetTransport(network, { name: 'client' })] });
    await writeAndRead(client, 'nbd://server:10809/disk');
    for (const kernel of [client, server, clockOwner]) expect((await kernel.shutdown()).problems).toEqual([]);
  });

  it('both ends may live in one kernel: the edge is known, and rights cross it', async () => {
    const { network, clockOwner } = await realNetwork();
    const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, nbd, packetTransport(network, { name: 'box' })] });
    await NbdServer.listen(kernel, { address: 'box:10809', exports: { disk: await kernel.openBlockDevice('mem:1MiB') } });
    await writeAndRead(kernel, 'nbd://box:10809/disk');
    expect(kernel.graph().edges).toContainEqual(['nbd://box:10809/disk', 'nbd-server:box:10809']);
    expect(kernel.graph().edges).toContainEqual(['nbd-server:box:10809', 'packet transport box']);
    expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
    await clockOwner.shutdown();
  });
});

describe('hosts in no kernel', () => {
  it('talk to each other, and are closed by hand', async () => {
    const { network, clockOwner } = await realNetwork();
    const { clock, random } = clockOwner;
    const [a, b] = ['a', 'b'].map((name, n): PacketTransport => bareHost(network, { name, clock, random, address: `10.1.0.${n + 1}` }));
    const got = new Promise<string>((resolve) => {
      void b.openUdp({ port: 7, onMessage: ({ bytes, source, sourcePort }) => resolve(`${source}:${sourcePort} ${bytes.join()}`) });
    });
    const socket = await a.openUdp({ port: 8 });
    socket.send(b.address, 7, Uint8Array.of(1, 2, 3));
    expect(await got).toBe('10.1.0.1:8 1,2,3');
    await a.close();
    await b.close();
    expect((await clockOwner.shutdown()).leakedTimers).toBe(0);
  });

  it('take no name or address twice, and no line that cannot be', async () => {
    const { network, clockOwner } = await realNetwork();
    const { clock, random } = clockOwner;
    const a = bareHost(network, { name: 'a', clock, random });
    await a.start();
    await expect(bareHost(network, { name: 'a', clock, random }).start()).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await expect(bareHost(network, { name: 'c', address: '10.0.0.1', clock, random }).start()).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
    await a.close();
    await expect(a.start()).rejects.toMatchObject({ code: 'ESHUTDOWN' });
    for (const line of [{ mtuBytes: 67 }, { mtuBytes: 4083 }, { lossRate: 2 }, { latencyMs: -1 }, { bytesPerMs: 0 }]) {
      expect(() => new PacketNetwork(network.physics, line)).toThrow(KernelError);
    }
    await clockOwner.shutdown();
  });
});

it('a transport is made once for a kernel, and takes nothing until it is used', async () => {
  const { network, clockOwner } = await realNetwork();
  const kernel = await Kernel.boot({ memory: '1MiB', plugins: [host, packetTransport(network, { name: 'quiet' })] });
  expect(kernel.container.resolve(PACKET_TRANSPORT)).toBe(kernel.container.resolve(PACKET_TRANSPORT));
  expect(kernel.memory.allocator.nrFree).toBe(kernel.memory.nrFrames);
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  await clockOwner.shutdown();
});
