/**
 * The plugin that makes a kernel a host of an in-memory IPv4 network, and hosts that are in no kernel.
 *
 *     const network = new PacketNetwork(clockPhysics(clock, random));
 *     const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, swap, nbd, packetTransport(network, { name: 'client' })] });
 *     await kernel.openBlockDevice('nbd://server/disk');
 */
import {
  type Clock,
  definePlugin,
  type DependencyContainer,
  instanceCachingFactory,
  KERNEL,
  Memory,
  PAGE_SIZE,
  parseSize,
  type Plugin,
  type RandomSource,
  type Size,
  TaskContext,
  type Token,
  TRANSPORT,
  token,
  TracePoints,
} from '@tidemark/core';
import type { PacketNetwork } from './network.js';
import { type PacketHostOptions, PacketTransport } from './packet-transport.js';
import { emergencyRules, RECEIVE_RULES } from './rules.js';

/** A kernel's packet transport, if it has one: counters, holders, UDP sockets. */
export const PACKET_TRANSPORT: Token<PacketTransport> = token('packet-transport');

/** Makes a kernel a host of a network. */
export function packetTransport(network: PacketNetwork, options: PacketHostOptions): Plugin {
  return definePlugin({
    name: 'packet-transport',
    register(container) {
      const make = instanceCachingFactory((c: DependencyContainer) => {
        const kernel = c.resolve(KERNEL);
        const { memory, clock, random, trace, task, reserves: planner, localConnections } = kernel;
        return new PacketTransport(network, options, {
          memory,
          clock,
          random,
          trace,
          task,
          planner,
          recognise: (clientEnd, serverEnd) => localConnections.recognise(clientEnd, serverEnd),
          rules: c.isRegistered(RECEIVE_RULES) ? c.resolve(RECEIVE_RULES) : emergencyRules,
          onUp: (transport) => void kernel.onShutdown(transport.node.name, () => transport.end()),
        });
      });
      container.register(PACKET_TRANSPORT, { useFactory: make });
      container.register(TRANSPORT, { useFactory: make });
    },
  });
}

/** What a host outside any kernel lives in. */
export interface BareHostOptions extends PacketHostOptions {
  readonly clock: Clock;
  readonly random: RandomSource;
  /** Its own memory, in nobody's budget. Default 4 MiB. */
  readonly memory?: Size;
}

/** A host that is in no kernel: a remote peer whose memory is nobody's concern. Close it at the end. */
export function bareHost(network: PacketNetwork, options: BareHostOptions): PacketTransport {
  const { clock, random, name } = options;
  const trace = new TracePoints();
  return new PacketTransport(network, options, {
    memory: new Memory(Math.floor(parseSize(options.memory ?? '4MiB', 'memory') / PAGE_SIZE), trace),
    clock,
    random,
    trace,
    task: TaskContext.root(name),
    planner: null,
    recognise: () => null,
    rules: emergencyRules,
    onUp: () => {},
  });
}
