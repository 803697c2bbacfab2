/** Simulated links: the contract of sockets and transports, and what goes wrong on them. */
import { type Kernel, type KernelError, TRANSPORT } from '@tidemark/core';
import { parseAddress, ReceiveSlot, type Socket, type SocketHandler, type Transport } from '@tidemark/net';
import { type LinkOptions, type Machine, type Scenario, SimulatedNetwork, type World } from '@tidemark/testkit';
import { explore } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';

const command = 'npx vitest run packages/testkit/test/simulated-network.test.ts';
const ADDRESS = parseAddress('server:7');

/** One end of a connection that remembers what it was told. */
class End implements SocketHandler {
  readonly received: number[] = [];
  readonly told: string[] = [];
  socket: Socket | null = null;
  /** Bytes taken at a time before reading stops. */
  appetite = Number.POSITIVE_INFINITY;

  constructor(readonly slot: ReceiveSlot) {}

  onReceive(socket: Socket): boolean {
    expect(this.told).toEqual([]);
    const { slot } = socket;
    this.received.push(...slot.bytes.subarray(slot.start, slot.end));
    slot.consume(slot.length);
    return this.received.length < this.appetite;
  }

  onEnd(): void {
    expect(this.told).toEqual([]);
    this.told.push('end');
  }

  onClose(_socket: Socket, error: KernelError | null): void {
    expect(this.told).not.toContain('close');
    if (error !== null) this.told.push(error.code);
    this.told.push('close');
  }
}

interface Net {
  readonly network: SimulatedNetwork;
  readonly client: Kernel;
  readonly server: Kernel;
  readonly clientMachine: Machine;
  readonly serverMachine: Machine;
  readonly accepted: End[];
  connect(timeoutMs?: number): Promise<End>;
  close(): Promise<void>;
}

async function makeNet(world: World, link: Partial<LinkOptions> = {}, maxConnections = 2): Promise<Net> {
  const network = new SimulatedNetwork(world, link);
  const boot = async (name: string): Promise<[Machine, Kernel, Transport]> => {
    const machine = world.machine(name);
    const kernel = await world.boot(machine, { memory: '2MiB', plugins: [network.transportOf(machine)] });
    return [machine, kernel, kernel.container.resolve(TRANSPORT) as Transport];
  };
  const [serverMachine, server, serverTransport] = await boot('server');
  const [clientMachine, client, clientTransport] = await boot('client');
  const accepted: End[] = [];
  const taken: { free(): void }[] = [];
  const endOf = async (kernel: Kernel): Promise<End> => {
    const memory = await kernel.memory.allocStanding(kernel.task, 'slot', 1);
    taken.push(memory);
    return new End(new ReceiveSlot(memory));
  };
  const listener = await serverTransport.listen(ADDRESS, {
    maxConnections,
    accept: async () => {
      const end = await endOf(server);
      accepted.push(end);
      return {
        slot: end.slot,
        handler: end,
        onOpen: (socket) => {
          end.socket = socket;
        },
        onAbandon: () => void end.told.push('abandoned'),
      };
    },
  });
  return {
    network,
    client,
    server,
    clientMachine,
    serverMachine,
    accepted,
    connect: async (timeoutMs = 1_000) => {
      const end = await endOf(client);
      end.socket = await clientTransport.connect(ADDRESS, { slot: end.slot, handler: end, timeoutMs });
      return end;
    },
    close: async () => {
      for (const end of accepted) end.socket?.destroy();
      await listener.close();
      await world.sleep(10);
      for (const memory of taken) memory.free();
    },
  };
}

async function run(name: string, body: (world: World) => Promise<void>, nrSeeds = 40): Promise<void> {
  const scenario: Scenario = { name, run: body };
  await explore(scenario, { nrSeeds, command });
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'none',
    (error: KernelError) => error.code,
  );
}

describe('a simulated link', () => {
  it('brings every byte in order, once, whatever the pieces, and then the end', async () => {
    await run('stream', async (world) => {
      const net = await makeNet(world, { windowBytes: 700, lossRate: 0.05, bytesPerMs: 1_000 });
      const { random } = world;
      const end = await net.connect();
      const sent: number[] = [];
      let nrSent = 0;
      let nrWanted = 0;
      for (let n = 0; n < 20; n++) {
        const bytes = new Uint8Array(1 + random.below(500));
        random.fill(bytes);
        sent.push(...bytes);
        nrWanted++;
        end.socket?.send(bytes, () => {
          nrSent++;
          bytes.fill(0); // ours again: nobody looks any more
        });
        if (random.chance(0.3)) await world.sleep(random.next());
      }
      end.socket?.closeWhenSent();
      expect(end.socket?.isOpen).toBe(false);
      const [other] = net.accepted;
      other.appetite = 1_000;
      while (!other.told.includes('end')) {
        await world.sleep(5);
        other.appetite += 1_000;
        other.socket?.resume();
      }
      expect(other.received).toEqual(sent);
      expect(nrSent).toBe(nrWanted);
      expect(end.told).toEqual(['close']);
      await net.close();
    });
  });

  it('refuses, does not answer, or is full, and says which', async () => {
    await run('connect', async (world) => {
      const net = await makeNet(world, {}, 1);
      net.network.refuse('server:7');
      expect(await codeOf(net.connect())).toBe('ECONNREFUSED');
      net.network.refuse('server:7', false);
      net.network.partition('client', 'server');
      const before = world.nowMs;
      expect(await codeOf(net.connect(500))).toBe('ETIMEDOUT');
      expect(world.nowMs - before).toBeGreaterThanOrEqual(500);
      net.network.heal('client', 'server');
      const first = await net.connect();
      const second = await net.connect();
      await world.sleep(10);
      expect(first.told).toEqual([]);
      expect(second.told).toEqual(['end']); // accepted and closed
      first.socket?.destroy();
      second.socket?.destroy();
      await world.sleep(10);
      await net.close();
    });
  });

  it('a partition holds everything back, and nothing is lost by it', async () => {
    await run('partition', async (world) => {
      const net = await makeNet(world);
      const end = await net.connect();
      await world.sleep(5);
      net.network.partition('client', 'server');
      end.socket?.send(new Uint8Array(100).fill(7), null);
      await world.sleep(60_000);
      expect(net.accepted[0].received).toEqual([]);
      net.network.heal('client', 'server');
      await world.sleep(10);
      expect(net.accepted[0].received).toEqual(new Array(100).fill(7));
      end.socket?.destroy();
      await net.close();
    });
  });

  it('cut after n bytes: exactly those arrive, and both ends learn of it', async () => {
    await run('cut', async (world) => {
      const net = await makeNet(world);
      const at = 1 + world.random.below(1_000);
      net.network.onConnection = (connection) => connection.cutAfter('to-server', at);
      const end = await net.connect();
      end.socket?.send(new Uint8Array(2_000).fill(3), null);
      await world.sleep(50);
      expect(net.accepted[0].received.length).toBeLessThanOrEqual(at);
      for (const each of [end, net.accepted[0]]) expect(each.told).toEqual(['ECONNRESET', 'close']);
      expect(net.network.connections).toEqual([]);
      await net.close();
    });
  });

  it('a machine that dies resets its peers, or leaves them waiting until it is back', async () => {
    await run('death', async (world) => {
      const net = await makeNet(world);
      const end = await net.connect();
      await world.sleep(5);
      const isSilent = world.seed % 2 === 0;
      if (isSilent) net.network.killSilently(net.serverMachine);
      else net.serverMachine.kill();
      await world.sleep(1_000);
      expect(end.told).toEqual(isSilent ? [] : ['ECONNRESET', 'close']);
      expect(net.accepted[0].told).toEqual([]); // the dead are told nothing
      expect(await codeOf(net.connect(100))).toBe(isSilent ? 'ETIMEDOUT' : 'ECONNREFUSED');
      const again = world.machine('server');
      const kernel = await world.boot(again, { memory: '2MiB', plugins: [net.network.transportOf(again)] });
      const transport = kernel.container.resolve(TRANSPORT) as Transport;
      const listener = await transport.listen(ADDRESS, { maxConnections: 1, accept: async () => null });
      await world.sleep(10);
      expect(end.told).toEqual(['ECONNRESET', 'close']);
      await listener.close();
      await net.close();
    });
  });

  it('sending to a peer that has closed brings a reset', async () => {
    await run('reset', async (world) => {
      const net = await makeNet(world);
      const end = await net.connect();
      await world.sleep(5);
      net.accepted[0].socket?.destroy();
      await world.sleep(5);
      expect(end.told).toEqual(['end']);
      end.told.length = 0;
      end.socket?.send(new Uint8Array(10), null);
      await world.sleep(5);
      expect(end.told).toEqual(['ECONNRESET', 'close']);
      await net.close();
    });
  });
});
