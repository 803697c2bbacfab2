/** The IPv4 layer: fragments, neighbours and routes within their bounds, and nothing that a wire can bring does harm. */
import { PAGE_SIZE } from '@tidemark/core';
import {
  ArpOperation,
  BROADCAST_LINK,
  ETHERNET_HEADER_BYTES,
  EtherType,
  IPV4_HEADER_BYTES,
  ipv4,
  linkAddressOf,
  type PacketTransport,
  type Port,
  Protocol,
  putArp,
  putEthernet,
  putIpv4,
  putUdp,
  UDP_HEADER_BYTES,
} from '@tidemark/net';
import { Random, type World } from '@tidemark/testkit';
import { explore } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { End, Lan, listenFor } from './support.js';

const command = 'npx vitest run packages/net/test/packet/ip.test.ts';
const PAYLOAD_AT = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES;

const run = (name: string, scenario: (world: World) => Promise<void>, nrSeeds = 4): Promise<unknown> =>
  explore({ name, run: scenario }, { nrSeeds, command });

/** A plug of nobody's, to send frames of one's own making. */
const plugIn = (lan: Lan): Port => lan.packets.network.attach('stranger', { receive: () => {}, received: () => {} });

interface Fragment {
  readonly source: number;
  readonly identification: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly hasMore: boolean;
}

function sendFragment(port: Port, to: number, fragment: Fragment): void {
  const frame = new Uint8Array(PAYLOAD_AT + fragment.lengthBytes).fill(fragment.identification & 255);
  putEthernet(frame, linkAddressOf(to), port.link, EtherType.IPV4);
  putIpv4(frame, ETHERNET_HEADER_BYTES, {
    ...fragment,
    totalBytes: IPV4_HEADER_BYTES + fragment.lengthBytes,
    protocol: Protocol.UDP,
    destination: to,
  });
  if (fragment.offsetBytes === 0) {
    const header = new Uint8Array(UDP_HEADER_BYTES);
    putUdp(header, 1, 7, 64);
    frame.set(header.subarray(0, Math.min(fragment.lengthBytes, UDP_HEADER_BYTES)), PAYLOAD_AT);
  }
  port.transmit(frame);
}

/** True between any two events: bounds hold, and what holders and the pool say of buffers agrees. */
function watchBounds(world: World, transport: PacketTransport): void {
  world.afterEachEvent(() => {
    let held = 0;
    for (const holder of transport.holders.all) {
      if (holder.usedBytes > holder.boundBytes) throw new Error(`${holder.name} holds ${holder.usedBytes} of ${holder.boundBytes}`);
      held += holder.usedBytes / PAGE_SIZE;
    }
    if (transport.pool.nrBuffers < held) throw new Error(`${held} buffers are held and ${transport.pool.nrBuffers} are out`);
    if (transport.nrRoutes > transport.sizes.routes) throw new Error(`${transport.nrRoutes} routes`);
  });
}

describe('fragments', () => {
  it('come together in whatever order they arrive, and once', () =>
    run(
      'reassembly',
      async (world) => {
        const { random } = world;
        const lan = new Lan(world, { mtuBytes: 68 + random.below(600), reorderRate: 0.5, reorderMs: 3 });
        const a = await lan.host('a', { frames: 2048, sizes: { reassemblyBytes: 2 ** 20, peersReassemblyBytes: 0 } });
        const b = await lan.host('b', { frames: 2048, sizes: { reassemblyBytes: 2 ** 20, peersReassemblyBytes: 0 } });
        watchBounds(world, b.transport);
        const got: string[] = [];
        const receiver = await b.transport.openUdp({ port: 7, onMessage: ({ bytes }) => got.push(Buffer.from(bytes).toString('hex')) });
        const sender = await a.transport.openUdp({ port: 8 });
        sender.send(b.transport.address, 7, new Uint8Array(1)); // finds its neighbour
        await world.sleep(100);
        expect(got).toEqual(['00']);
        const sent = ['00'];
        for (let n = 0; n < 10; n++) {
          const bytes = new Uint8Array(random.below(4000));
          random.fill(bytes);
          sent.push(Buffer.from(bytes).toString('hex'));
          expect(sender.send(b.transport.address, 7, bytes)).toBe(true);
          await world.sleep(random.below(3));
        }
        await world.sleep(100);
        expect(got.sort()).toEqual(sent.sort());
        expect(b.transport.pool.nrBuffers).toBe(0);
        for (const socket of [sender, receiver]) socket.close();
      },
      20,
    ));

  it('of every sort, made to contradict each other, stay within the bound and are gone after half a minute', () =>
    run(
      'fragment fuzz',
      async (world) => {
        const { random } = world;
        const lan = new Lan(world);
        const { transport } = await lan.host('host', { frames: 512 });
        await transport.start();
        watchBounds(world, transport);
        const stranger = plugIn(lan);
        for (let n = 0; n < 400; n++) {
          const isLast = random.chance(0.2);
          sendFragment(stranger, transport.address, {
            source: ipv4('10.3.0.0') + random.below(3),
            identification: random.below(3),
            offsetBytes: random.below(8) * 8,
            lengthBytes: isLast ? random.below(40) : 8 * random.below(5),
            hasMore: !isLast,
          });
          if (random.chance(0.05)) await world.sleep(random.below(20_000));
          world.progress();
        }
        await world.sleep(100);
        expect(transport.counters.received).toBe(400);
        const reassembly = transport.holders.find('reassembly');
        expect(reassembly.highWaterBytes).toBeLessThanOrEqual(reassembly.boundBytes - transport.sizes.peersReassemblyBytes);
        await world.sleep(31_000);
        expect([reassembly.usedBytes, transport.pool.nrBuffers]).toEqual([0, 0]);
      },
      20,
    ));

  it('evict the oldest datagram that is not whole', () =>
    run('eviction', async (world) => {
      const lan = new Lan(world);
      const { transport } = await lan.host('host', { frames: 512, sizes: { reassemblyBytes: 4 * PAGE_SIZE, peersReassemblyBytes: 0 } });
      const got: number[] = [];
      const socket = await transport.openUdp({ port: 7, onMessage: ({ bytes }) => got.push(bytes[0]) });
      const stranger = plugIn(lan);
      const send = async (identification: number, offsetBytes: number): Promise<void> => {
        const hasMore = offsetBytes === 0;
        sendFragment(stranger, transport.address, { source: ipv4('10.3.0.1'), identification, offsetBytes, lengthBytes: 32, hasMore });
        await world.sleep(50);
      };
      for (let nr = 1; nr <= 6; nr++) await send(nr, 0); // 1 and 2 have to go
      for (let nr = 6; nr >= 1; nr--) await send(nr, 32);
      expect(got).toEqual([6, 5, 4]); // the second half of 6 needed a place too, and 3 was the oldest
      expect(transport.counters.droppedFragments).toBeGreaterThanOrEqual(3);
      await world.sleep(31_000);
      expect(transport.pool.nrBuffers).toBe(0);
      socket.close();
    }));
});

describe('neighbours and routes', () => {
  it('who does not answer is given up, and what waited for it is dropped and counted', () =>
    run('nobody there', async (world) => {
      const lan = new Lan(world);
      const { transport } = await lan.host('host');
      const socket = await transport.openUdp({ port: 7 });
      const sent = [1, 2, 3, 4, 5].map((n) => socket.send(ipv4('10.8.8.8'), n, new Uint8Array(10)));
      const { boundBytes } = transport.holders.find('neighbour queue');
      expect(sent.filter((each) => each).length).toBe(boundBytes / PAGE_SIZE);
      expect(transport.pool.nrBuffers).toBe(boundBytes / PAGE_SIZE);
      await world.sleep(10_000);
      expect(transport.pool.nrBuffers).toBe(0);
      expect(transport.counters.unreachable).toBe(5);
      socket.close();
    }));

  it('a first packet waits for the answer and is sent, though questions are lost', () =>
    run('lost questions', async (world) => {
      const lan = new Lan(world);
      const [a, b] = [await lan.host('a'), await lan.host('b')];
      let nrLost = 0;
      lan.packets.network.onTransmit = () => nrLost++ >= 2;
      const got: number[] = [];
      const receiver = await b.transport.openUdp({ port: 7, onMessage: ({ bytes }) => got.push(bytes[0]) });
      const sender = await a.transport.openUdp({ port: 7 });
      sender.send(b.transport.address, 7, Uint8Array.of(42));
      await world.sleep(5_000);
      expect(got).toEqual([42]);
      for (const socket of [sender, receiver]) socket.close();
    }));

  it('are as many as their bound under a flood of strangers, and cost what was declared', () =>
    run('strangers', async (world) => {
      const lan = new Lan(world);
      const { transport, kernel } = await lan.host('host', { frames: 512 });
      await transport.start();
      watchBounds(world, transport);
      const before = kernel.meminfo().slab;
      const stranger = plugIn(lan);
      for (let n = 0; n < 500; n++) {
        const sender = ipv4('10.5.0.0') + n;
        const frame = new Uint8Array(60);
        putEthernet(frame, BROADCAST_LINK, stranger.link, EtherType.ARP);
        const arp = { operation: ArpOperation.REQUEST, senderLink: stranger.link, sender, targetLink: 0, target: transport.address };
        putArp(frame, ETHERNET_HEADER_BYTES, arp);
        stranger.transmit(frame);
        sendFragment(stranger, transport.address, { source: sender, identification: n, offsetBytes: 0, lengthBytes: 8, hasMore: false });
      }
      await world.sleep(100);
      expect(transport.nrRoutes).toBe(transport.sizes.routes);
      const declared = transport.explain().filter(({ what }) => what === 'route cache');
      const used = kernel.meminfo().slab - before;
      expect(used).toBeGreaterThan(0);
      expect(used).toBeLessThanOrEqual(declared[0].frames + Math.ceil(transport.sizes.neighbours / 32) + 1);
    }));
});

it('a flood of questions does not make a marked connection ask for its peer again', () =>
  run('peers stay', async (world) => {
    const lan = new Lan(world);
    const [server, client] = [await lan.host('server'), await lan.host('client')];
    const servers: End[] = [];
    const listener = await listenFor(server, 80, servers);
    const mine = await End.create(client, 0, 1);
    const options = { slot: mine.slot, handler: mine, timeoutMs: 1000, memalloc: true };
    mine.onOpen(await client.transport.connect({ kind: 'tcp', host: 'server', port: 80 }, options));
    const stranger = plugIn(lan);
    for (let n = 0; n < 200; n++) {
      const frame = new Uint8Array(60);
      putEthernet(frame, BROADCAST_LINK, stranger.link, EtherType.ARP);
      const sender = ipv4('10.5.0.0') + n;
      const arp = { operation: ArpOperation.REQUEST, senderLink: stranger.link, sender, targetLink: 0, target: client.transport.address };
      putArp(frame, ETHERNET_HEADER_BYTES, arp);
      stranger.transmit(frame);
    }
    await world.sleep(100);
    let nrQuestions = 0;
    lan.packets.network.onTransmit = (frame) => {
      if (frame[12] === EtherType.ARP >> 8 && frame[13] === (EtherType.ARP & 255)) nrQuestions++;
      return true;
    };
    mine.send(10_000);
    await world.sleep(1000);
    expect(servers[0].nrReceived).toBe(10_000);
    expect(nrQuestions).toBe(0);
    mine.socket?.closeWhenSent();
    servers[0].socket?.closeWhenSent();
    for (const end of [mine, servers[0]]) {
      await end.until(({ isClosed }) => isClosed);
      end.free();
    }
    await listener.close();
  }));

describe('a wire that changes what it carries', () => {
  it('costs time and never a wrong byte, an error of ours, or memory', () =>
    run(
      'bit flips',
      async (world) => {
        const { random } = world;
        const lan = new Lan(world, { mtuBytes: random.chance(0.5) ? 1500 : 400 });
        const sizes = { segmentBytes: 1200 };
        const [server, client] = [await lan.host('server', { sizes }), await lan.host('client', { sizes })];
        for (const { transport } of [server, client]) watchBounds(world, transport);
        const bits = new Random(world.seed);
        let nrFlipped = 0;
        lan.packets.network.onTransmit = (frame) => {
          // Two flips that cancel out in the checksum are as rare as on real wires: one flip, in one frame of ten.
          if (frame.length > 60 && bits.chance(0.1)) {
            frame[ETHERNET_HEADER_BYTES + bits.below(frame.length - ETHERNET_HEADER_BYTES)] ^= 1 << bits.below(8);
            nrFlipped++;
          }
          return true;
        };
        const servers: End[] = [];
        const listener = await listenFor(server, 80, servers);
        const mine = await End.create(client, 0, 1);
        mine.onOpen(
          await client.transport.connect({ kind: 'tcp', host: 'server', port: 80 }, { slot: mine.slot, handler: mine, timeoutMs: 60_000 }),
        );
        mine.send(60_000);
        await world.sleep(5_000);
        await servers[0].until(({ nrReceived }) => nrReceived === 60_000);
        expect(nrFlipped).toBeGreaterThan(0);
        expect(client.transport.counters.retransmitted).toBeGreaterThan(0);
        mine.socket?.closeWhenSent();
        await servers[0].until(({ hasEnded, isClosed }) => hasEnded || isClosed);
        servers[0].socket?.closeWhenSent();
        await servers[0].until(({ isClosed }) => isClosed);
        await mine.until(({ isClosed }) => isClosed);
        for (const each of [mine, ...servers]) each.free();
        await listener.close();
        await world.sleep(31_000);
        expect([client.transport.pool.nrBuffers, server.transport.pool.nrBuffers]).toEqual([0, 0]);
      },
      20,
    ));

  it('may bring anything at all', () =>
    run(
      'noise',
      async (world) => {
        const { random } = world;
        const lan = new Lan(world);
        const { transport } = await lan.host('host', { frames: 512 });
        const listener = await listenFor({ world, machine: world.machines[0], kernel: world.kernels[0], transport }, 80, []);
        watchBounds(world, transport);
        const stranger = plugIn(lan);
        for (let n = 0; n < 500; n++) {
          const frame = new Uint8Array(random.below(200));
          random.fill(frame);
          const payloadBytes = frame.length - PAYLOAD_AT;
          if (frame.length >= ETHERNET_HEADER_BYTES) {
            putEthernet(frame, linkAddressOf(transport.address), stranger.link, random.chance(0.8) ? EtherType.IPV4 : EtherType.ARP);
          }
          if (payloadBytes > 0 && random.chance(0.9)) {
            putIpv4(frame, ETHERNET_HEADER_BYTES, {
              totalBytes: IPV4_HEADER_BYTES + payloadBytes,
              identification: 1,
              hasMore: false,
              offsetBytes: 0,
              protocol: random.pick([Protocol.TCP, Protocol.UDP, 1]),
              source: ipv4('10.7.0.1'),
              destination: transport.address,
            });
          }
          // What has no address on it goes to nobody.
          if (frame.length >= 6) stranger.transmit(frame);
        }
        await world.sleep(1_000);
        expect(transport.nrConnections).toBe(0);
        await listener.close();
        await world.sleep(31_000);
        expect(transport.pool.nrBuffers).toBe(0);
      },
      10,
    ));
});
