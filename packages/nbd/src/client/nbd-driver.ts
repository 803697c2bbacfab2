/** The block driver behind `nbd://` and `nbd+unix://`: takes a device's memory, connects, and hands over. */
import {
  type BlockDeviceOps,
  type BlockDriver,
  type DependencyContainer,
  KERNEL,
  KernelError,
  type OpenDeviceOptions,
  type StandingMemory,
} from '@tidemark/core';
import { findTransport, formatAddress, ReceiveSlot } from '@tidemark/net';
import { parseUri } from '../protocol/uri.js';
import { connectExport } from './connect.js';
import { NbdDevice } from './nbd-device.js';
import { headerFrames } from './request-slots.js';

const OPEN_TIMEOUT_MS = 30_000;
const RECONNECT_TIMEOUT_MS = 30_000;
const REQUEST_TIMEOUT_MS = 30_000;

/** Options of `kernel.openBlockDevice` for an NBD device. */
export interface NbdOpenOptions extends OpenDeviceOptions {
  /** Longest time without a reply after a connection was lost; then requests end with EIO. Default 30,000. */
  readonly reconnectTimeoutMs?: number;
  /** Longest wait for a reply; then the connection counts as lost. Default 30,000. */
  readonly requestTimeoutMs?: number;
}

export class NbdDriver implements BlockDriver {
  /** TLS's schemes are here to be refused by name. */
  readonly schemes = ['nbd', 'nbd+unix', 'nbds', 'nbds+unix'];

  constructor(private readonly container: DependencyContainer) {}

  /**
   * Opens an export. Memory: a receive slot and the header buffers, standing.
   * @throws KernelError EINVAL (URI, impossible export), ENOMEM, and those of `connectExport`.
   */
  async open(url: string, options: NbdOpenOptions): Promise<BlockDeviceOps> {
    const target = parseUri(url);
    const transport = findTransport(this.container, target.address);
    const { memory, clock, trace, localConnections, task: kernelTask } = this.container.resolve(KERNEL);
    const { slotFrames, clientUnits: nrUnits, payloadBytes } = memory.sizes;
    const task = kernelTask.within({ name: target.uri });
    const reconnectTimeoutMs = timeLimit(options.reconnectTimeoutMs, RECONNECT_TIMEOUT_MS, 'reconnectTimeoutMs');
    const requestTimeoutMs = timeLimit(options.requestTimeoutMs, REQUEST_TIMEOUT_MS, 'requestTimeoutMs');
    const timeoutMs = timeLimit(options.timeoutMs, OPEN_TIMEOUT_MS, 'timeoutMs');
    const client = localConnections.client({
      name: target.uri,
      address: formatAddress(target.address),
      resource: target.exportName,
      nrUnits,
    });
    const taken: StandingMemory[] = [];
    try {
      taken.push(await memory.allocStanding(task, `${target.uri}, receive slot`, slotFrames));
      taken.push(await memory.allocStanding(task, `${target.uri}, request headers`, headerFrames(nrUnits)));
      const [receiveMemory, headerMemory] = taken;
      const slot = new ReceiveSlot(receiveMemory);
      const connected = await connectExport({ transport, clock, target, slot, client, timeoutMs, signal: options.signal });
      return new NbdDevice(
        {
          name: target.uri,
          arena: memory.arena,
          clock,
          trace,
          receiveMemory,
          headerMemory,
          slot,
          client,
          needs: transport.node === undefined ? [] : [transport.node],
          nrUnits,
          payloadBytes,
          readOnly: options.readOnly ?? false,
          reconnectTimeoutMs,
          requestTimeoutMs,
          connect: (attemptMs, signal) => connectExport({ transport, clock, target, slot, client, timeoutMs: attemptMs, signal }),
        },
        connected,
      );
    } catch (error) {
      client.close();
      for (const memoryTaken of taken) memoryTaken.free();
      throw error;
    }
  }
}

function timeLimit(given: number | undefined, standard: number, name: string): number {
  const timeMs = given ?? standard;
  if (!Number.isFinite(timeMs) || timeMs <= 0) throw new KernelError('EINVAL', `${name} is ${timeMs}: want milliseconds`);
  return timeMs;
}
