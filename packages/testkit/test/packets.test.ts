/** T5 with its packet half: swap → NBD client → packets → NBD server on another machine → simulated disk, all plugins real. */
import { type BootOptions, definePlugin, type Kernel, PAGE_SIZE } from '@tidemark/core';
import { type NbdOpenOptions, NbdServer, nbd } from '@tidemark/nbd';
import {
  emergencyRules,
  type LineOptions,
  PACKET_TRANSPORT,
  type PacketHostOptions,
  type PacketSizes,
  type PacketTransport,
  RECEIVE_RULES,
  type ReceiveRules,
} from '@tidemark/net';
import { swap } from '@tidemark/swap';
import { type Machine, type Outcome, type Scenario, SimulatedDisk, SimulatedPackets, type World } from '@tidemark/testkit';
import { explore, simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { runSwapLoad, type SwapLoad } from './swap-load.js';

const command = 'npx vitest run packages/testkit/test/packets.test.ts';
const CLIENT_FRAMES = 128;
const SERVER_FRAMES = 512;
const LOAD: SwapLoad = { nrTasks: 2, pagesPerTask: CLIENT_FRAMES, nrOperations: 30 };

interface Topology {
  readonly kernel: Kernel;
  readonly packets: SimulatedPackets;
  readonly server: Machine;
  readonly transport: PacketTransport;
}

async function bootTopology(
  world: World,
  line: Partial<LineOptions> = {},
  host: Partial<PacketHostOptions> = {},
  client: { readonly policy?: BootOptions['policy']; readonly rules?: ReceiveRules } = {},
): Promise<Topology> {
  const packets = new SimulatedPackets(world, { mtuBytes: 4082, ...line });
  const server = world.machine('server');
  const serverKernel = await world.boot(server, { memory: SERVER_FRAMES * PAGE_SIZE, plugins: [nbd, packets.hostOf(server, host)] });
  const disk = new SimulatedDisk(world, server, serverKernel.memory.arena, { sizeBytes: 6 * CLIENT_FRAMES * PAGE_SIZE });
  await NbdServer.listen(serverKernel, { address: 'server:10809', exports: { disk: serverKernel.attach(disk) } });
  const machine = world.machine('client');
  const { policy, rules = emergencyRules } = client;
  const receiveRules = definePlugin({
    name: 'rules',
    register: (container) => void container.register(RECEIVE_RULES, { useValue: rules }),
  });
  const plugins = [swap, nbd, packets.hostOf(machine, host), receiveRules];
  const kernel = await world.boot(machine, { memory: CLIENT_FRAMES * PAGE_SIZE, plugins, policy });
  const patient: NbdOpenOptions = { requestTimeoutMs: 60_000, reconnectTimeoutMs: 1e9 };
  const device = await kernel.openBlockDevice('nbd://server:10809/disk', patient);
  await kernel.swapOn(device, { format: true });
  return { kernel, packets, server, transport: kernel.container.resolve(PACKET_TRANSPORT) };
}

const WHOLE: Scenario = {
  name: 'T5 over packets',
  async run(world) {
    const { kernel } = await bootTopology(world);
    await runSwapLoad(world, kernel, LOAD);
  },
};

const IDLE_PORT = 9;
/** What unread packets may take of the client: more than the atomic band. */
const UNREAD_BYTES = 32 * PAGE_SIZE;

interface FloodCase {
  readonly ratio: number;
  readonly isFragment?: boolean;
  readonly awayMs?: number;
  readonly policy?: BootOptions['policy'];
  readonly rules?: ReceiveRules;
  readonly line?: Partial<LineOptions>;
  readonly sizes?: Partial<PacketSizes>;
}

interface Seen {
  nrForeign: number;
  nrDropped: number;
  nrEmergencies: number;
  nrRuns: number;
}

/** T5, T9 and T13 by their loads: swap while others' packets come with each of its own, for a socket that nobody reads. */
function flooded(name: string, flood: FloodCase, seen: Seen): Scenario {
  return {
    name,
    async run(world) {
      const { kernel, packets, transport } = await bootTopology(
        world,
        flood.line,
        { sizes: { receiveLimitBytes: UNREAD_BYTES, ...flood.sizes } },
        flood,
      );
      await transport.openUdp({ port: IDLE_PORT, receiveLimitBytes: transport.sizes.receiveLimitBytes });
      const source = packets.flood({ to: 'client', port: IDLE_PORT, ratio: flood.ratio });
      if (flood.isFragment) packets.flood({ to: 'client', port: IDLE_PORT, ratio: flood.ratio, isFragment: true });
      if (flood.awayMs !== undefined) {
        world.later(5, () => packets.network.partition('client', 'server'));
        world.later(5 + flood.awayMs, () => packets.network.heal('client', 'server'));
      }
      world.afterEachEvent(() => {
        for (const holder of transport.holders.all) {
          if (holder.usedBytes > holder.boundBytes)
            throw new Error(`${holder.name} holds ${holder.usedBytes} of ${holder.boundBytes} bytes`);
        }
        if (transport.nrRoutes > transport.sizes.routes) throw new Error(`${transport.nrRoutes} routes are cached`);
      });
      await runSwapLoad(world, kernel, { ...LOAD, nrTasks: 1, nrOperations: 10 });
      const { counters } = transport;
      seen.nrForeign += source.nrSent;
      seen.nrDropped += counters.droppedForeign + counters.droppedFragments;
      seen.nrEmergencies += counters.emergencies;
      seen.nrRuns++;
    },
  };
}

/** Replies of three fragments, a store for many, and little else that is set aside. */
const FRAGMENTS: FloodCase = {
  ratio: 40,
  isFragment: true,
  line: { mtuBytes: 1500 },
  sizes: { segmentBytes: 4096, reassemblyBytes: 12 * PAGE_SIZE, peersReassemblyBytes: 4 * PAGE_SIZE, backlogBytes: PAGE_SIZE },
};

const nothingSeen = (): Seen => ({ nrForeign: 0, nrDropped: 0, nrEmergencies: 0, nrRuns: 0 });

describe('T5 over packets', () => {
  it('every byte reads back, under random and PCT schedules', async () => {
    const summary = await explore(WHOLE, { nrSeeds: 20, command });
    console.log(
      `T5 over packets: ${summary.nrRuns} runs, ${summary.nrEvents} events, ${summary.eventsPerSecond} a second, at most ${summary.eventsPeak}`,
    );
    expect(summary.eventsPeak).toBeLessThanOrEqual(3_000);
  });

  it('every byte reads back over lines that lose, duplicate and reorder', async () => {
    const scenario: Scenario = {
      name: 'T5 over bad packets',
      async run(world) {
        const { kernel } = await bootTopology(world, { lossRate: 0.01, duplicationRate: 0.02, reorderRate: 0.05, mtuBytes: 1500 });
        await runSwapLoad(world, kernel, LOAD);
      },
    };
    await explore(scenario, { nrSeeds: 10, command });
  });

  it('the device, the server and the transports are in the plan', async () => {
    const scenario: Scenario = {
      name: 'the plan',
      async run(world) {
        const { kernel, transport } = await bootTopology(world);
        expect(kernel.graph().edges).toContainEqual(['nbd://server:10809/disk', transport.node.name]);
        expect(kernel.memory.reserve.limitFrames).toBeGreaterThanOrEqual(transport.reserveFrames);
        const server = world.kernels.find(({ name }) => name === 'server');
        expect(server?.graph().edges).toContainEqual(['nbd-server:server:10809', 'packet transport server']);
      },
    };
    await explore(scenario, { nrSeeds: 1, command });
  });
});

describe("a flood of packets that are nobody's writeout", () => {
  for (const ratio of [1, 10, 100, 1000]) {
    it(`${ratio} to one: each completion of swap is received, and no holder passes its bound`, async () => {
      const seen = nothingSeen();
      const { eventsPeak } = await explore(flooded(`flood ${ratio}`, { ratio }, seen), { nrSeeds: ratio < 1000 ? 4 : 1, command });
      expect(eventsPeak).toBeLessThanOrEqual(3_000);
      expect(seen.nrForeign).toBeGreaterThan(ratio * 100 * seen.nrRuns);
      expect(seen.nrEmergencies).toBeGreaterThan(0);
      expect(seen.nrDropped).toBeGreaterThan(0);
    });
  }

  it('while the server is away for 30 s', async () => {
    const seen = nothingSeen();
    await explore(flooded('T9', { ratio: 100, awayMs: 30_000 }, seen), { nrSeeds: 4, command });
    expect(seen.nrDropped).toBeGreaterThan(0);
  });

  it('of fragments whose rest never comes, while the replies of swap are fragments too', async () => {
    const seen = nothingSeen();

    await explore(flooded('T13', FRAGMENTS, seen), { nrSeeds: 4, command });
    expect(seen.nrDropped).toBeGreaterThan(0);
  });

  describe('and what each part of the answer is for', () => {
    const stuckUnder = async (flood: FloodCase, name: string): Promise<Outcome> => {
      const seen = nothingSeen();
      for (let seed = 1; seed <= 6; seed++) {
        const outcome = await simulate(flooded(name, flood, seen), { seed, patienceMs: 200_000 });
        if (outcome.verdict === 'stuck') return outcome;
      }
      throw new Error(`${name}: not stuck under any of 6 seeds, ${JSON.stringify(seen)}`);
    };

    /** The report leads from the swap area down to who has the buffers. */
    const expectChain = ({ reports }: Outcome, holder: string): void => {
      const report = reports.find(({ machine }) => machine === 'client')?.report;
      const device = 'nbd://server:10809/disk';
      const parties = [
        `swap-area: swap:${device}`,
        `block-device: ${device}`,
        'transport: packet transport client',
        'account: packet transport client',
      ];
      for (const [i, to] of [...parties.slice(1), `holder: ${holder}`].entries()) expect(report?.edges).toContainEqual([parties[i], to]);
    };

    it('without the mark, the replies are dropped with the rest', async () => {
      const rules = { ...emergencyRules, name: 'no mark', marks: () => false };
      expectChain(await stuckUnder({ ratio: 100, rules }, 'no mark'), 'unread packets');
    });

    it('without the check of the tag, the socket that nobody reads has the whole account', async () => {
      const rules = { ...emergencyRules, name: 'no tag check', passes: () => true };
      const sizes = { receiveLimitBytes: 2 * UNREAD_BYTES };
      expectChain(await stuckUnder({ ratio: 100, rules, sizes }, 'no tag check'), 'unread packets');
    });

    it('without reassembly in the sum, the fragments of a reply never come together', async () => {
      const rules = {
        ...emergencyRules,
        name: 'no reassembly',
        plannedBytes: (name: string, bytes: number) => (name === 'reassembly' ? 0 : bytes),
      };
      expectChain(await stuckUnder({ ...FRAGMENTS, rules }, 'no reassembly in the sum'), 'reassembly');
    });

    it('without a reserve, nobody has a buffer for the reply', async () => {
      expectChain(await stuckUnder({ ratio: 100, policy: 'none' }, 'no reserve'), 'unread packets');
    });
  });
});
