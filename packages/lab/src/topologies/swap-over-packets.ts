/**
 * T5, T9, T13: swap on nbd on another machine, over the packets of an in-memory IPv4 network, every plugin real. What is received needs
 * a buffer before anyone knows whose it is; the load sends others' packets with each reply.
 *
 *     T5    as many foreign packets as the ring has slots with each reply, for a socket whose program is asleep
 *     T9    a flood of them, which begins when the server goes away for 30 s
 *     T13   a flood of first fragments, of datagrams whose rest never comes; replies travel as fragments, too
 */
import { definePlugin, PAGE_SIZE, type Plugin, type WriteoutNode } from '@tidemark/core';
import { md } from '@tidemark/md';
import { type NbdOpenOptions, NbdServer, nbd } from '@tidemark/nbd';
import { bareHost, emergencyRules, PACKET_TRANSPORT, RECEIVE_RULES } from '@tidemark/net';
import { type Machine, SimulatedDisk, SimulatedPackets } from '@tidemark/testkit';
import { sweepAnonymous } from '../load/anonymous.js';
import type { LabKernel } from '../models/lab-kernel.js';
import type { LabPolicy } from '../policies.js';
import type { Stage, Topology } from '../topology.js';

/** Memory of the machine under load. */
const FRAMES = 96;
const MIN_FRAMES = 8;
const SWAP_PAGES = 6 * FRAMES;
const SERVER_FRAMES = 512;
/** Where nobody reads. */
const IDLE_PORT = 9;
const RING_SLOTS = 8;
/** Foreign packets to one of its own in a flood. What can hold them is full after a few, so that a thousand would do no more. */
const FLOOD_RATIO = 16;
/** What unread packets may take: of one socket, and of all. */
const UNREAD_BYTES = 32 * PAGE_SIZE;
/** A stream's longest pause between two attempts, and some. */
const PATIENCE_MS = 300_000;
/** When the server goes away, and how often a stranger writes meanwhile. */
const CUT_AT_MS = 60;
const STRANGER_MS = 500;

/** How the machines are on the network. */
export interface ClientSpec {
  readonly nrFrames: number;
  readonly mtuBytes: number;
  readonly sizes?: { readonly segmentBytes: number };
}

/** A page and its header in one packet; or in three fragments. */
export const WHOLE: ClientSpec = { nrFrames: FRAMES, mtuBytes: 4082 };
const FRAGMENTING: ClientSpec = { nrFrames: FRAMES, mtuBytes: 1500, sizes: { segmentBytes: 4082 } };

/** Foreign packets for the ring at each reply. */
export const FOREIGN = { to: 'client', port: IDLE_PORT, ratio: RING_SLOTS };

/** A client that never gives its server up. */
const PATIENT: NbdOpenOptions = { requestTimeoutMs: 10_000, reconnectTimeoutMs: 1e9 };

/** How a policy's time received: sockets that nobody marks, and nothing dropped. */
function receiveRules({ marksSockets }: LabPolicy): Plugin {
  const rules = marksSockets ? emergencyRules : { ...emergencyRules, name: 'no marks', marks: () => false, passes: () => true };
  return definePlugin({ name: 'receive-rules', register: (container) => void container.register(RECEIVE_RULES, { useValue: rules }) });
}

/** A network with the machine under load on it. */
export async function bootClient(
  stage: Stage,
  { nrFrames, mtuBytes, sizes }: ClientSpec,
): Promise<{ lab: LabKernel; packets: SimulatedPackets }> {
  const packets = new SimulatedPackets(stage.world, { mtuBytes });
  const host = { sizes: { ringSlots: RING_SLOTS, receiveLimitBytes: UNREAD_BYTES, ...sizes } };
  const plugins = (machine: Machine) => [nbd, md, packets.hostOf(machine, host), receiveRules(stage.policy)];
  const lab = await stage.boot({ name: 'client', nrFrames, watermarks: { minFrames: MIN_FRAMES }, plugins });
  return { lab, packets };
}

/** The machine of the server, with memory enough. */
async function bootServer(stage: Stage, packets: SimulatedPackets, { sizes }: ClientSpec): Promise<void> {
  const { world } = stage;
  const server = world.machine('server');
  const kernel = await world.boot(server, { memory: SERVER_FRAMES * PAGE_SIZE, plugins: [nbd, packets.hostOf(server, { sizes })] });
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

interface Load {
  readonly ratio: number;
  readonly isFragment?: boolean;
  /** The server is away so long, once memory is short; the flood begins then. */
  readonly isAwayMs?: number;
}

async function swapOverPackets(stage: Stage, { isAwayMs = 0, ...flood }: Load, host = WHOLE): Promise<void> {
  const { lab, packets } = await bootClient(stage, host);
  await bootServer(stage, packets, host);
  const { kernel } = lab;
  const device = await kernel.openBlockDevice<NbdOpenOptions>('nbd://server:10809/disk', PATIENT);
  await kernel.swapOn(device, { format: true });
  await needsTransport(lab, await kernel.writeoutNodeOf(device));
  await openIdleSocket(lab);
  stage.begins();
  const begin = (): void => void packets.flood({ to: 'client', port: IDLE_PORT, ...flood });
  if (isAwayMs === 0) begin();
  else await cutOff(stage, packets, isAwayMs, begin);
  await sweepAnonymous(lab, 4 * FRAMES);
}

/** Nothing passes between client and server for a while, and the flood begins: another host's packets draw it behind them. */
async function cutOff({ world }: Stage, packets: SimulatedPackets, isAwayMs: number, flood: () => void): Promise<void> {
  const clock = world.machine('stranger').clock;
  const stranger = bareHost(packets.network, { name: 'stranger', clock, random: world.randomOf('stranger') });
  const socket = await stranger.openUdp({ port: IDLE_PORT });
  world.later(CUT_AT_MS, () => {
    packets.network.partition('client', 'server');
    flood();
  });
  for (let atMs = 0; atMs < isAwayMs; atMs += STRANGER_MS) {
    world.later(CUT_AT_MS + atMs, () => void socket.send(packets.network.addressOf('client'), IDLE_PORT, new Uint8Array(64)));
  }
  world.later(CUT_AT_MS + isAwayMs, async () => {
    packets.network.heal('client', 'server');
    await stranger.close();
  });
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
  preconditions: `as T5; ${FLOOD_RATIO} foreign packets to one; the server is away for 30 s`,
  transport: 'packet',
  patienceMs: PATIENCE_MS,
  run: (stage) => swapOverPackets(stage, { ratio: FLOOD_RATIO, isAwayMs: 30_000 }),
};

export const T13: Topology = {
  name: 'T13',
  title: 'swap → nbd, remote, under a flood of fragments',
  preconditions: `as T5; ${FLOOD_RATIO} fragments to one, of datagrams that are never whole`,
  transport: 'packet',
  patienceMs: PATIENCE_MS,
  run: (stage) => swapOverPackets(stage, { ratio: FLOOD_RATIO, isFragment: true }, FRAGMENTING),
};
