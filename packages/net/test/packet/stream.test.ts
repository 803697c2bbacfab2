/** The byte stream over links that lose, duplicate, reorder and cut: every byte arrives once and in order, and nothing is left behind. */
import { isKernelError } from '@tidemark/core';
import type { LineOptions } from '@tidemark/net';
import type { Scenario } from '@tidemark/testkit';
import { explore } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { End, Lan, listenFor } from './support.js';

const command = 'npx vitest run packages/net/test/packet/stream.test.ts';

/** Two hosts, some connections, both directions at once; each end closes in its own way. */
function exchange(
  name: string,
  line: Partial<LineOptions>,
  options: { pauseRate?: number; partitions?: number; segmentBytes?: number; maxResent?: number } = {},
): Scenario {
  const { pauseRate = 0, partitions = 0, segmentBytes, maxResent = Number.POSITIVE_INFINITY } = options;
  return {
    name,
    async run(world) {
      const { random } = world;
      const lan = new Lan(world, line);
      const sizes = segmentBytes === undefined ? {} : { segmentBytes };
      const server = await lan.host('server', { sizes });
      const client = await lan.host('client', { sizes });
      const servers: End[] = [];
      const listener = await listenFor(server, 80, servers);
      for (let n = 0; n < partitions; n++) {
        const atMs = 1 + random.below(2000);
        world.later(atMs, () => lan.packets.network.partition('client', 'server'));
        world.later(atMs + 1 + random.below(3000), () => lan.packets.network.heal('client', 'server'));
      }
      const nrConnections = 1 + random.below(3);
      const chat = async (): Promise<void> => {
        const mine = await End.create(client, 2 * servers.length, 2 * servers.length + 1);
        mine.onOpen(
          await client.transport.connect({ kind: 'tcp', host: 'server', port: 80 }, { slot: mine.slot, handler: mine, timeoutMs: 60_000 }),
        );
        await world.sleep(0.01);
        const peer = servers.at(-1) as End;
        await peer.until((end) => end.socket !== null || end.isAbandoned);
        if (peer.isAbandoned) {
          mine.socket?.destroy(); // every acknowledgement of the handshake was lost
          await mine.until((end) => end.isClosed);
          mine.free();
          peer.free();
          return;
        }
        mine.pauseRate = peer.pauseRate = pauseRate;
        const lengths = [random.below(200_000), random.below(50_000)];
        for (const [end, length] of [
          [mine, lengths[0]],
          [peer, lengths[1]],
        ] as const) {
          for (let left = length; left > 0; ) {
            const piece = Math.min(left, 1 + random.below(random.chance(0.5) ? 40_000 : 100));
            end.send(piece);
            left -= piece;
            if (random.chance(0.3)) await world.sleep(random.next());
          }
        }
        if (random.chance(0.5)) mine.socket?.end();
        else await mine.until((end) => end.nrReceived === lengths[1]);
        await peer.until((end) => end.nrReceived === lengths[0]);
        await mine.until((end) => end.nrReceived === lengths[1]);
        mine.socket?.closeWhenSent();
        await peer.until((end) => end.hasEnded || end.isClosed);
        peer.socket?.closeWhenSent();
        await mine.until((end) => end.isClosed);
        await peer.until((end) => end.isClosed);
        expect([mine.error, peer.error]).toEqual([null, null]);
        expect([mine.nrReceived, peer.nrReceived]).toEqual([lengths[1], lengths[0]]);
        mine.free();
        peer.free();
      };
      for (let nr = 0; nr < nrConnections; nr++) await chat();
      expect(listener.nrConnections).toBe(0);
      await listener.close();
      await world.sleep(31_000); // fragments of what was sent twice
      for (const { transport } of [client, server]) {
        expect(transport.counters.retransmitted).toBeLessThanOrEqual(maxResent);
        expect([transport.nrConnections, transport.pool.nrBuffers]).toEqual([0, 0]);
        for (const holder of transport.holders.all) {
          expect(holder.usedBytes).toBe(0);
          expect(holder.highWaterBytes).toBeLessThanOrEqual(holder.boundBytes);
        }
      }
    },
  };
}

describe('the byte stream', () => {
  it('over a good line: no segment twice', async () => {
    await explore(exchange('good line', {}, { maxResent: 0 }), { nrSeeds: 20, command });
  });

  it('over lines that lose, duplicate and reorder', async () => {
    await explore(exchange('bad line', { lossRate: 0.05, duplicationRate: 0.05, reorderRate: 0.1 }), { nrSeeds: 40, command });
  });

  it('over a line that loses a third', async () => {
    await explore(exchange('awful line', { lossRate: 0.33, reorderRate: 0.3, reorderMs: 5 }), { nrSeeds: 10, command });
  });

  it('into slots that are paused again and again', async () => {
    await explore(exchange('paused', { lossRate: 0.02, reorderRate: 0.1 }, { pauseRate: 0.3 }), { nrSeeds: 40, command });
  });

  it('across partitions', async () => {
    await explore(exchange('partitions', { lossRate: 0.01 }, { partitions: 3 }), { nrSeeds: 20, command });
  });

  it('in segments that travel as fragments, some lost', async () => {
    await explore(exchange('fragments', { mtuBytes: 576, lossRate: 0.01, reorderRate: 0.2 }, { segmentBytes: 1800 }), {
      nrSeeds: 20,
      command,
    });
  });

  it('through a slow line with a short queue', async () => {
    await explore(exchange('slow line', { bytesPerMs: 1000, queueBytes: 20_000, latencyMs: 5 }), { nrSeeds: 10, command });
  });
});

describe('connections', () => {
  const errorOf = async (attempt: Promise<unknown>): Promise<string> => {
    try {
      await attempt;
      return 'none';
    } catch (error) {
      return isKernelError(error) ? error.code : String(error);
    }
  };

  it('are refused where nobody listens, time out where nobody is, and end with their signal', async () => {
    const scenario: Scenario = {
      name: 'refusals',
      async run(world) {
        const lan = new Lan(world);
        const server = await lan.host('server');
        const client = await lan.host('client');
        await server.transport.start();
        const end = await End.create(client, 0, 1);
        const connect = (host: string, port: number, timeoutMs = 3_000) =>
          client.transport.connect({ kind: 'tcp', host, port }, { slot: end.slot, handler: end, timeoutMs });
        expect(await errorOf(connect('server', 81))).toBe('ECONNREFUSED');
        expect(await errorOf(connect('10.9.9.9', 81))).toBe('ETIMEDOUT');
        expect(await errorOf(connect('nobody', 81))).toBe('ENXIO');
        expect(client.transport.nrConnections).toBe(0);
        const ends: End[] = [];
        const listener = await listenFor(server, 80, ends, 1);
        expect(
          await errorOf(
            server.transport.listen({ kind: 'tcp', host: 'server', port: 80 }, { maxConnections: 1, accept: async () => null }),
          ),
        ).toBe('EADDRINUSE');
        expect(
          await errorOf(server.transport.listen({ kind: 'tcp', host: 'client', port: 9 }, { maxConnections: 1, accept: async () => null })),
        ).toBe('ENXIO');
        const socket = await connect('server', 80);
        const second = await End.create(client, 2, 3);
        expect(
          await errorOf(
            client.transport.connect({ kind: 'tcp', host: 'server', port: 80 }, { slot: second.slot, handler: second, timeoutMs: 1000 }),
          ),
        ).toBe('ECONNREFUSED');
        expect(server.transport.counters.refused).toBe(1);
        socket.destroy();
        await end.until(({ isClosed }) => isClosed);
        await ends[0].until(({ isClosed }) => isClosed);
        expect(end.error).toBeNull();
        expect(ends[0].error?.code).toBe('ECONNRESET');
        await listener.close();
        for (const each of [end, second, ...ends]) each.free();
      },
    };
    await explore(scenario, { nrSeeds: 10, command });
  });

  it('see a reset when their host has died and is back, and only then', async () => {
    const scenario: Scenario = {
      name: 'a host restarts',
      async run(world) {
        const lan = new Lan(world);
        const client = await lan.host('client');
        const first = await lan.host('server');
        const ends: End[] = [];
        await listenFor(first, 80, ends);
        const end = await End.create(client, 0, 1);
        end.onOpen(
          await client.transport.connect({ kind: 'tcp', host: 'server', port: 80 }, { slot: end.slot, handler: end, timeoutMs: 1000 }),
        );
        first.machine.kill();
        end.send(10_000);
        await world.sleep(20_000);
        expect(end.isClosed).toBe(false);
        const second = await lan.host('server');
        await second.transport.start();
        await end.until(({ isClosed }) => isClosed);
        expect(end.error?.code).toBe('ECONNRESET');
        end.free();
      },
    };
    await explore(scenario, { nrSeeds: 10, command });
  });

  it('that are asked for and never taken up cost their place for a while, and then none', async () => {
    const scenario: Scenario = {
      name: 'half-open',
      async run(world) {
        const lan = new Lan(world);
        const server = await lan.host('server');
        const client = await lan.host('client');
        const ends: End[] = [];
        const listener = await listenFor(server, 80, ends);
        lan.packets.network.onTransmit = (_frame, from) => from.name !== 'server' || world.nowMs > 30_000; // no answer arrives
        const end = await End.create(client, 0, 1);
        expect(
          await errorOf(
            client.transport.connect({ kind: 'tcp', host: 'server', port: 80 }, { slot: end.slot, handler: end, timeoutMs: 5000 }),
          ),
        ).toBe('ETIMEDOUT');
        await world.sleep(40_000);
        expect(listener.nrConnections).toBe(0);
        expect(server.transport.nrConnections).toBe(0);
        for (const each of ends) expect(each.isAbandoned).toBe(true);
        await listener.close();
        for (const each of [end, ...ends]) each.free();
      },
    };
    await explore(scenario, { nrSeeds: 5, command });
  });
});
