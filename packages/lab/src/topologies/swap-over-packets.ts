/**
 * T5, T9, T13: swap on nbd on another machine, over the packets of an in-memory IPv4 network, every plugin real. What is received needs
 * a buffer before anyone knows whose it is; the load sends others' packets with each reply.
 *
 *     T5    as many foreign packets as the ring has slots with each reply, for a socket whose program is asleep
 *     T9    1000 to one, and the server is away for 30 s
 *     T13   1000 first fragments to one, of datagrams whose rest never comes
 */
import { definePlugin, PAGE_SIZE, type Plugin, type WriteoutNode } from '@tidemark/core';
import { type NbdOpenOptions, NbdServer, nbd } from '@tidemark/nbd';
import { emergencyRules, PACKET_TRANSPORT, RECEIVE_RULES } from '@tidemark/net';
import { type Machine, SimulatedDisk, SimulatedPackets } from '@tidemark/testkit';
import { sweepAnonymous } from '../load/anonymous.js';
import type { LabKernel } from '../models/lab-kernel.js';
import type { LabPolicy } from '../policies.js';
import type { Stage, Topology } from '../topology.js';

const FRAMES = 96;
const MIN_FRAMES = 8;
const SWAP_PAGES = 6 * FRAMES;
const SERVER_FRAMES = 512;
/** Where nobody reads. */
const IDLE_PORT = 9;
const RING_SLOTS = 8;
/** Foreign packets to one of its own in a flood. What can hold them is full after a few, so that a thousand would do no more. */
const FLOOD_RATIO = 32;
/** What unread packets may take: of one socket, and of all. */
const UNREAD_BYTES = 24 * PAGE_SIZE;
/** A stream's longest pause between two attempts, and some. */
const PATIENCE_MS = 300_000;
const MTU_BYTES = 4082;

/** A client that never gives its server up. */
const PATIENT: NbdOpenOptions = { requestTimeoutMs: 10_000, reconnectTimeoutMs: 1e9 };

/** How a policy's time received: sockets that nobody marks, and nothing dropped. */
function receiveRules({ marksSockets }: LabPolicy): Plugin {
  const rules = marksSockets ? emergencyRules : { ...emergencyRules, name: 'no marks', marks: () => false, passes: () => true };
  return definePlugin({ name: 'receive-rules', register: (container) => void container.register(RECEIVE_RULES, { useValue: rules }) });
}

/** A network with the machine under load on it. */
export async function bootClient(stage: Stage): Promise<{ lab: LabKernel; packets: SimulatedPackets }> {
  const packets = new SimulatedPackets(stage.world, { mtuBytes: MTU_BYTES });
  const plugins = (machine: Machine) => [
    nbd,
    packets.hostOf(machine, { sizes: { ringSlots: RING_SLOTS, receiveLimitBytes: UNREAD_BYTES } }),
    receiveRules(stage.policy),
  ];
  const lab = await stage.boot({ name: 'client', nrFrames: FRAMES, watermarks: { minFrames: MIN_FRAMES }, plugins });
  return { lab, packets };
}

/** The machine of the server, with memory enough. */
async function bootServer(stage: Stage, packets: SimulatedPackets): Promise<void> {
  const { world } = stage;
  const server = world.machine('server');
  const kernel = await world.boot(server, { memory: SERVER_FRAMES * PAGE_SIZE, plugins: [nbd, packets.hostOf(server)] });
  const disk = new SimulatedDisk(world, server, kernel.memory.arena, { sizeBytes: SWAP_PAGES * PAGE_SIZE });
  await NbdServer.listen(kernel, { address: 'server:10809', exports: { disk: kernel.attach(disk) } });
}

/** A program that has a socket and does not read. */
export async function openIdleSocket(lab: LabKernel): Promise<void> {
  await lab.kernel.container.resolve(PACKET_TRANSPORT).openUdp({ port: IDLE_PORT, receiveLimitBytes: UNREAD_BYTES });
}

/** What is written through `node` leaves by packets: the transport is on its path, and its account is what a pin above makes it. */
export async function needsTransport(lab: LabKernel, node: WriteoutNode): Promise<void> {
  const { kernel } = lab;
  const transport = kernel.container.resolve(PACKET_TRANSPORT).node;
  await lab.link(node, transport);
  await kernel.reserves.refit(kernel.task, transport);
}

async function swapOverPackets(stage: Stage, flood: { ratio: number; isFragment?: boolean }, isAwayMs = 0): Promise<void> {
  const { lab, packets } = await bootClient(stage);
  await bootServer(stage, packets);
  const { kernel } = lab;
  const device = await kernel.openBlockDevice<NbdOpenOptions>('nbd://server:10809/disk', PATIENT);
  await kernel.swapOn(device, { format: true });
  await needsTransport(lab, await kernel.writeoutNodeOf(device));
  await openIdleSocket(lab);
  stage.begins();
  packets.flood({ to: 'client', port: IDLE_PORT, ...flood });
  if (isAwayMs > 0) {
    stage.world.later(20, () => packets.network.partition('client', 'server'));
    stage.world.later(20 + isAwayMs, () => packets.network.heal('client', 'server'));
  }
  await sweepAnonymous(lab, 4 * FRAMES);
}

export const T5: Topology = {
  name: 'T5',
  title: 'swap → nbd, remote',
  preconditions: `anonymous set of 4 times memory; ${RING_SLOTS} foreign packets with each packet to the client, a ring of as many slots`,
  transport: 'packet',
  patienceMs: PATIENCE_MS,
  run: (stage) => swapOverPackets(stage, { ratio: RING_SLOTS }),
};

export const T9: Topology = {
  name: 'T9',
  title: 'swap → nbd, remote, under unrelated flood and server outage',
  preconditions: 'as T5; 1000 foreign packets to one; the server is away for 30 s',
  transport: 'packet',
  patienceMs: PATIENCE_MS,
  run: (stage) => swapOverPackets(stage, { ratio: FLOOD_RATIO }, 30_000),
};

export const T13: Topology = {
  name: 'T13',
  title: 'swap → nbd, remote, under a flood of fragments',
  preconditions: 'as T5; 1000 fragments to one, of datagrams that are never whole',
  transport: 'packet',
  patienceMs: PATIENCE_MS,
  run: (stage) => swapOverPackets(stage, { ratio: FLOOD_RATIO, isFragment: true }),
};
