/** T5 with its packet half: swap → NBD client → packets → NBD server on another machine → simulated disk, all plugins real. */
import { type Kernel, PAGE_SIZE } from '@tidemark/core';
import { NbdServer, nbd } from '@tidemark/nbd';
import { type LineOptions, PACKET_TRANSPORT, type PacketHostOptions, type PacketTransport } from '@tidemark/net';
import { swap } from '@tidemark/swap';
import { type Machine, type Scenario, SimulatedDisk, SimulatedPackets, type World } from '@tidemark/testkit';
import { explore } from '@tidemark/testkit/host';
import { describe, it } from 'vitest';
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

async function bootTopology(world: World, line: Partial<LineOptions> = {}, host: Partial<PacketHostOptions> = {}): Promise<Topology> {
  const packets = new SimulatedPackets(world, { mtuBytes: 4082, ...line });
  const server = world.machine('server');
  const serverKernel = await world.boot(server, { memory: SERVER_FRAMES * PAGE_SIZE, plugins: [nbd, packets.hostOf(server)] });
  const disk = new SimulatedDisk(world, server, serverKernel.memory.arena, { sizeBytes: 6 * CLIENT_FRAMES * PAGE_SIZE });
  await NbdServer.listen(serverKernel, { address: 'server:10809', exports: { disk: serverKernel.attach(disk) } });
  const client = world.machine('client');
  const kernel = await world.boot(client, { memory: CLIENT_FRAMES * PAGE_SIZE, plugins: [swap, nbd, packets.hostOf(client, host)] });
  const device = await kernel.openBlockDevice('nbd://server:10809/disk');
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

describe('T5 over packets', () => {
  it('every byte reads back, under random and PCT schedules', async () => {
    const summary = await explore(WHOLE, { nrSeeds: 20, command });
    console.log(
      `T5 over packets: ${summary.nrRuns} runs, ${summary.nrEvents} events, ${summary.eventsPerSecond} a second, at most ${summary.eventsPeak}`,
    );
  });
});
