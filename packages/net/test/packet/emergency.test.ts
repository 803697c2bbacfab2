/** M12 and M13: the tag, the mark, the filter, the emergency state, and bounds that are paid for. */
import { KernelError, PAGE_SIZE } from '@tidemark/core';
import { describePacketTransport, emergencyRules, type PacketSizes, packetSizes, type ReceiveRules, type UdpSocket } from '@tidemark/net';
import { Depletion, type Scenario, type World } from '@tidemark/testkit';
import { explore } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { End, type Host, Lan } from './support.js';

const command = 'npx vitest run packages/net/test/packet/emergency.test.ts';
const IDLE_PORT = 9;
const MARKED_PORT = 10;
const NR_FOREIGN = 200;

interface Pressed {
  readonly host: Host;
  readonly sender: Host;
  readonly idle: UdpSocket;
  readonly marked: UdpSocket;
  readonly out: UdpSocket;
  readonly depletion: Depletion;
  readonly states: string[];
  send(port: number, count?: number): Promise<void>;
}

/** A host without memory to spare, one socket that nobody reads, and one that is marked. */
async function press(world: World, rules: ReceiveRules = emergencyRules): Promise<Pressed> {
  const lan = new Lan(world, {});
  const sender = await lan.host('sender');
  const host = await lan.host('host', { frames: 256, rules, sizes: { receiveLimitBytes: 2 ** 20 } });
  const idle = await host.transport.openUdp({ port: IDLE_PORT, receiveLimitBytes: 2 ** 20 });
  const marked = await host.transport.openUdp({ port: MARKED_PORT, memalloc: true });
  const out = await sender.transport.openUdp({ port: 5 });
  const states: string[] = [];
  host.kernel.trace.on('packetEmergency', ({ state }) => states.push(state));
  const send = async (port: number, count = 1): Promise<void> => {
    for (let n = 0; n < count; n++) out.send(host.transport.address, port, Uint8Array.of(n & 255, n >> 8));
    await world.sleep(50); // schedules may round times
  };
  await send(MARKED_PORT); // the neighbours know each other now
  expect(marked.receive()?.bytes).toEqual(Uint8Array.of(0, 0));
  const depletion = new Depletion(host.kernel, 'min');
  depletion.take();
  return { host, sender, idle, marked, out, depletion, states, send };
}

const over = ({ idle, marked, out, depletion }: Pressed): void => {
  depletion.release();
  for (const socket of [idle, marked, out]) socket.close();
};

const run = (name: string, scenario: (world: World) => Promise<void>): Promise<unknown> =>
  explore({ name, run: scenario } satisfies Scenario, { nrSeeds: 4, command });

describe('without memory to spare', () => {
  it('a socket that nobody reads takes the atomic band and nothing of the reserve; a marked one is served all the same', () =>
    run('idle socket', async (world) => {
      const pressed = await press(world);
      const { host, idle, marked, states, depletion, send } = pressed;
      const { transport, kernel } = host;
      const { reserve, allocator } = kernel.memory;
      const atomicFrames = allocator.nrFree - reserve.emergencyFrames;
      await send(IDLE_PORT, NR_FOREIGN);
      expect(idle.nrQueued).toBe(atomicFrames);
      expect(transport.counters.droppedForeign).toBe(NR_FOREIGN - atomicFrames);
      expect([reserve.usageFrames, transport.pool.nrTagged]).toEqual([0, 0]);
      expect(states).toEqual(['enter']);
      for (let n = 0; n < 20; n++) {
        await send(MARKED_PORT);
        expect(reserve.usageFrames).toBe(1); // it waits in a queue that is paid for
        expect(marked.receive()?.bytes).toEqual(Uint8Array.of(0, 0));
        expect(reserve.usageFrames).toBe(0);
      }
      expect(transport.isEmergency).toBe(true);
      depletion.release();
      expect(transport.isEmergency).toBe(false);
      expect(states).toEqual(['enter', 'leave']);
      over(pressed);
    }));

  it('what waits for a marked socket is bounded by the backlog, and the packet after it is dropped', () =>
    run('backlog', async (world) => {
      const pressed = await press(world);
      const { host, marked, send } = pressed;
      const backlog = host.transport.holders.find('backlog');
      await send(IDLE_PORT, NR_FOREIGN);
      await send(MARKED_PORT, 50);
      expect(marked.nrQueued * PAGE_SIZE).toBe(backlog.boundBytes);
      expect(host.transport.counters.droppedBound).toBe(50 - marked.nrQueued);
      expect(host.kernel.memory.reserve.usageFrames).toBe(marked.nrQueued);
      over(pressed);
    }));

  it('a marked listener takes connections, another does not', () =>
    run('listeners', async (world) => {
      const pressed = await press(world);
      const { host, sender, depletion, send } = pressed;
      depletion.release();
      const slots = [await End.create(sender, 0, 1), await End.create(sender, 2, 3)];
      const ends = [await End.create(host, 1, 0), await End.create(host, 3, 2)]; // their memory is there already
      const listen = (n: number, memalloc: boolean) =>
        host.transport.listen({ kind: 'tcp', host: 'host', port: 80 + n }, { maxConnections: 8, memalloc, accept: async () => ends[n] });
      const listeners = [await listen(0, true), await listen(1, false)];
      depletion.take();
      await send(IDLE_PORT, NR_FOREIGN);
      const connect = (n: number) =>
        sender.transport.connect({ kind: 'tcp', host: 'host', port: 80 + n }, { slot: slots[n].slot, handler: slots[n], timeoutMs: 5_000 });
      slots[0].onOpen(await connect(0));
      await expect(connect(1)).rejects.toMatchObject({ code: 'ETIMEDOUT' });
      slots[0].send(3_000);
      await ends[0].until(({ nrReceived }) => nrReceived === 3_000);
      depletion.release();
      slots[0].socket?.closeWhenSent();
      ends[0].socket?.closeWhenSent();
      for (const end of [slots[0], ends[0]]) await end.until(({ isClosed }) => isClosed);
      for (const end of [...slots, ...ends]) end.free();
      for (const listener of listeners) await listener.close();
      over(pressed);
    }));

  it('without the check of the tag, the socket that nobody reads takes the whole account, and the marked one gets nothing', () =>
    run('no tag check', async (world) => {
      const pressed = await press(world, { ...emergencyRules, name: 'no tag check', passes: () => true });
      const { host, idle, marked, send } = pressed;
      const { reserve } = host.kernel.memory;
      await send(IDLE_PORT, NR_FOREIGN);
      expect(reserve.usageFrames).toBe(reserve.limitFrames);
      expect(host.transport.pool.nrTagged).toBe(reserve.limitFrames - host.transport.pool.nrTaggedObjectFrames);
      await send(MARKED_PORT, 5);
      expect(marked.nrQueued).toBe(0);
      expect(host.transport.counters.droppedNoBuffer).toBeGreaterThanOrEqual(5);
      expect(idle.nrQueued).toBeGreaterThan(reserve.limitFrames - 3);
      over(pressed);
    }));

  it('without the mark, what is for it is dropped with the rest', () =>
    run('no mark', async (world) => {
      const pressed = await press(world, { ...emergencyRules, name: 'no mark', marks: () => false });
      const { host, marked, send } = pressed;
      await send(IDLE_PORT, NR_FOREIGN);
      const { droppedForeign } = host.transport.counters;
      await send(MARKED_PORT, 5);
      expect(marked.nrQueued).toBe(0);
      expect(host.transport.counters.droppedForeign).toBe(droppedForeign + 5);
      over(pressed);
    }));
});

describe('bounds', () => {
  it('are paid for: the account is their sum and the packet in hand', () =>
    run('sum', async (world) => {
      const { transport, kernel } = await new Lan(world).host('host', { frames: 1024 });
      await transport.start();
      const planned = kernel.reserves.explain().nodes.find(({ name }) => name === transport.node.name);
      const { reassemblyBytes, backlogBytes, neighbourQueueBytes, neighbours, routes } = transport.sizes;
      const objects = (count: number): number => Math.ceil(count / 32) + 1;
      const wanted = (reassemblyBytes + backlogBytes + neighbourQueueBytes) / PAGE_SIZE + objects(neighbours) + objects(routes) + 1;
      expect(planned?.limit).toBe(wanted);
      expect(transport.reserveFrames).toBe(wanted);
      expect(transport.explain().map(({ what }) => what)).toEqual([
        'reassembly',
        'route cache',
        'neighbour queue',
        'backlog',
        'packet in hand',
      ]);
    }));

  it('rise by what can be funded and not by a frame more; the old one stands then', () =>
    run('raise', async (world) => {
      const { transport, kernel } = await new Lan(world).host('host', { frames: 512 });
      await transport.start();
      const { reserve, allocator } = kernel.memory;
      const reassembly = transport.holders.find('reassembly');
      const before = reassembly.boundBytes;
      const limit = reserve.limitFrames;
      const fits = async (frames: number): Promise<boolean> => {
        try {
          await transport.setBound('reassembly', before + frames * PAGE_SIZE);
        } catch (error) {
          expect((error as KernelError).code).toBe('ENOMEM');
          expect((error as KernelError).message).toMatch(/packet transport host/);
          expect([reassembly.boundBytes, reserve.limitFrames]).toEqual([before, limit]);
          return false;
        }
        expect([reassembly.boundBytes, reserve.limitFrames]).toEqual([before + frames * PAGE_SIZE, limit + frames]);
        await transport.setBound('reassembly', before);
        expect([reassembly.boundBytes, reserve.limitFrames]).toEqual([before, limit]);
        return true;
      };
      let most = 0;
      for (let step = 512; step >= 1; step /= 2) if (await fits(most + step)) most += step;
      expect(most).toBeGreaterThan(50);
      // What bounds it is the high mark that the larger account would bring, or the frames that are free now.
      const { high } = allocator.watermarksWith(most + 1);
      const standing = kernel.reserves.explain().standing;
      expect(high + standing > kernel.memory.nrFrames || allocator.nrFree - reserve.emergencyFrames < most + 1).toBe(true);
      for (const [name, bytes, code] of [
        ['reassembly', -1, 'EINVAL'],
        ['reassembly', Number.NaN, 'EINVAL'],
        ['nothing', 1, 'ENOENT'],
      ] as const) {
        await expect(transport.setBound(name, bytes)).rejects.toMatchObject({ code });
      }
    }));

  it('are the same in a dry run, and never less in a larger arena', () =>
    run('dry run', async (world) => {
      const { transport } = await new Lan(world).host('host', { frames: 1024 });
      const described = describePacketTransport('host');
      expect(described.name).toBe(transport.node.name);
      expect(described.footprint(1024)).toEqual(transport.node.footprint);
      let before = 0;
      for (let frames = 64; frames <= 65_536; frames *= 2) {
        const { standing, unit } = described.footprint(frames);
        const total = [...standing, ...unit].reduce((sum, term) => sum + term.frames, 0);
        expect(total).toBeGreaterThanOrEqual(before);
        before = total;
      }
    }));

  it('that are none are refused', () => {
    const wrong: Partial<PacketSizes>[] = [
      { ringSlots: 0 },
      { reassemblyBytes: -1 },
      { backlogBytes: 0.5 },
      { routes: Number.NaN },
      { maxConnections: 0 },
      { segmentBytes: 70_000 },
      { neighbours: Number.POSITIVE_INFINITY },
    ];
    for (const given of wrong) expect(() => packetSizes(512, 1500, given)).toThrow(KernelError);
  });

  it('that do not fit refuse the first connection, name the node, and leave nothing behind', () =>
    run('refused', async (world) => {
      const lan = new Lan(world);
      const { transport, kernel } = await lan.host('host', { frames: 256, sizes: { reassemblyBytes: 2 ** 20 } });
      await (await lan.host('server')).transport.start();
      await expect(transport.openUdp({ port: 1 })).rejects.toThrow(KernelError);
      await expect(transport.openUdp({ port: 1 })).rejects.toThrow(/packet transport host cannot be admitted.*reassembly/);
      expect(kernel.memory.allocator.nrFree).toBe(kernel.memory.nrFrames);
      expect(kernel.graph().nodes).toEqual([]);
    }));
});
