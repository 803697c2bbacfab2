/** The kernel's table of connections that begin and end in it (M16, M14): who is recognised, what the planner asks for, and where pins go. */
import {
  Kernel,
  type KernelError,
  type LocalClient,
  type LocalConnection,
  type LocalConnections,
  type LocalServer,
  type PinSpec,
  type ReservePolicyName,
  type WriteoutNode,
} from '@tidemark/core';
import { host } from '@tidemark/core/host';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const spec = { name: 'nbd://10.0.0.1:10809/disk', address: '10.0.0.1:10809', resource: 'disk', nrUnits: 4 };
const SERVER_END = '10.0.0.1:10809';

let kernel: Kernel;
let table: LocalConnections;

async function boot(policy?: ReservePolicyName): Promise<void> {
  kernel = await Kernel.boot({ memory: '1MiB', plugins: [host], policy });
  table = kernel.localConnections;
}

beforeEach(() => boot());
afterEach(async () => {
  expect(await kernel.shutdown()).toMatchObject({ leakedFrames: 0, leakedTimers: 0 });
});

function nodeOf(name: string, kind: string, nrUnits: number, unitsForClients?: number): WriteoutNode {
  return { name, kind, footprint: { standing: [], unit: [], nrUnits, ...(unitsForClients === undefined ? {} : { unitsForClients }) } };
}

/** A server that writes down who pins what. */
class TestServer implements LocalServer {
  readonly log: string[] = [];
  readonly node: WriteoutNode;
  readonly leave: () => void;

  constructor(
    readonly name: string,
    address = SERVER_END,
    unitsForClients = 8,
  ) {
    this.node = nodeOf(name, 'server', unitsForClients + 1, unitsForClients);
    this.leave = table.serve(address, this);
  }

  async pin(_task: unknown, client: LocalClient, { user }: PinSpec): Promise<() => Promise<void>> {
    this.log.push(`pin ${client.resource} for ${user}`);
    return async () => void this.log.push(`unpin ${client.resource} for ${user}`);
  }
}

describe('an accepted connection', () => {
  it('is recognised by the addresses of both its ends, once', async () => {
    const client = table.client(spec);
    client.connecting().connected('10.0.0.1:50000', SERVER_END);
    expect(await table.recognise('10.0.0.1:50001', SERVER_END)).toBeNull();
    expect(await table.recognise('10.0.0.1:50000', '10.0.0.1:10810')).toBeNull();
    expect(await table.recognise('10.0.0.1:50000', SERVER_END)).toBe(client);
    expect(await table.recognise('10.0.0.1:50000', SERVER_END)).toBeNull(); // whoever comes from that port now
  });

  it('is recognised though the server is told of it first, and a stranger’s is not while somebody connects', async () => {
    const client = table.client(spec);
    const connection = client.connecting();
    const early = table.recognise('10.0.0.1:50000', SERVER_END);
    const stranger = table.recognise('10.0.0.1:50001', SERVER_END);
    await Promise.resolve();
    connection.connected('10.0.0.1:50000', SERVER_END);
    expect(await early).toBe(client);
    expect(await stranger).toBeNull();
  });

  it('is nobody’s once the connection is over or the client closed', async () => {
    const client = table.client(spec);
    const connection = client.connecting();
    connection.connected('10.0.0.1:50000', SERVER_END);
    connection.over();
    connection.connected('10.0.0.1:50000', SERVER_END); // too late
    expect(await table.recognise('10.0.0.1:50000', SERVER_END)).toBeNull();
    client.connecting().connected('10.0.0.1:50002', SERVER_END);
    client.close();
    expect(await table.recognise('10.0.0.1:50002', SERVER_END)).toBeNull();
  });

  it('never gets another’s rights, whatever comes from whichever port in whichever order', async () => {
    const step = fc.record({
      kind: fc.constantFrom('connect', 'over', 'accept', 'stranger'),
      who: fc.nat(2),
      port: fc.integer({ min: 1, max: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const clients = [0, 1, 2].map((i) => table.client({ ...spec, name: `client ${i}` }));
        // The model: a port has one connection at a time; a connection is accepted once.
        const open = new Map<number, { connection: LocalConnection; client: LocalClient; isAccepted: boolean }>();
        for (const { kind, who, port } of steps) {
          const end = `10.0.0.1:${port}`;
          const at = open.get(port);
          if (kind === 'connect' && at === undefined) {
            const connection = clients[who].connecting();
            connection.connected(end, SERVER_END);
            open.set(port, { connection, client: clients[who], isAccepted: false });
          } else if (kind === 'over') {
            at?.connection.over();
            open.delete(port);
          } else if (kind === 'accept' && at !== undefined) {
            expect(await table.recognise(end, SERVER_END)).toBe(at.isAccepted ? null : at.client);
            at.isAccepted = true;
          } else if (kind === 'stranger' && at === undefined) expect(await table.recognise(end, SERVER_END)).toBeNull();
        }
        for (const client of clients) client.close();
        for (const { connection } of open.values()) connection.over();
      }),
    );
  });
});

describe('the planner', () => {
  it('refuses a client with more units than its server keeps for it, naming both and their counts', async () => {
    const server = new TestServer('server', SERVER_END, 5);
    const [first, second] = [nodeOf('first', 'block-device', 4), nodeOf('second', 'block-device', 2)];
    await kernel.reserves.admit(kernel.task, { candidates: [{ node: server.node }], edges: [] });
    await kernel.reserves.admit(kernel.task, { candidates: [{ node: first }], edges: [[first, server.node]] });
    const refused = kernel.reserves.admit(kernel.task, { candidates: [{ node: second }], edges: [[second, server.node]] });
    await expect(refused).rejects.toMatchObject({
      code: 'ENOMEM',
      message:
        'ENOMEM: second cannot be a client of server: it has 2 units, and server keeps 5 for nodes of this kernel, of which 4 are those of first',
      details: { client: 'second', server: 'server', wantedUnits: 2, availableUnits: 1 },
    } satisfies Partial<KernelError>);
    expect(kernel.graph().nodes.map(({ name }) => name)).not.toContain('second');
    await kernel.reserves.release(first);
    await kernel.reserves.admit(kernel.task, { candidates: [{ node: second }], edges: [[second, server.node]] });
    await kernel.reserves.release(second);
    await kernel.reserves.release(server.node);
  });

  it('refuses a server that keeps more units than it has', async () => {
    for (const unitsForClients of [5, -1, 0.5]) {
      const node = nodeOf('server', 'server', 4, unitsForClients);
      await expect(kernel.reserves.admit(kernel.task, { candidates: [{ node }], edges: [] })).rejects.toMatchObject({ code: 'EINVAL' });
    }
  });

  it('asks for nothing under a policy in which rights do not cross', async () => {
    await kernel.shutdown();
    await boot('memalloc');
    const server = new TestServer('server', SERVER_END, 1);
    const node = nodeOf('client', 'block-device', 4);
    const client = table.client(spec);
    expect(table.rightsCross).toBe(false);
    await kernel.reserves.admit(kernel.task, { candidates: [{ node: server.node }, { node }], edges: [[node, server.node]] });
    await (await client.pin(kernel.task, { user: 'swap', nrUnits: 4 }))();
    expect(server.log).toEqual([]);
  });
});

describe('a client', () => {
  it('has the server that recognised it, else the one that listens where it connects to', async () => {
    const [byAddress, reached] = [new TestServer('by address'), new TestServer('reached', '10.0.0.2:1')];
    const client = table.client(spec);
    expect(client.server).toBe(byAddress);
    await client.reached(reached);
    expect(client.server).toBe(reached);
    reached.leave();
    expect(client.server).toBe(byAddress);
    byAddress.leave();
    expect(client.server).toBeNull();
    const everywhere = new TestServer('everywhere', '0.0.0.0:10809');
    expect(client.server).toBe(everywhere);
    expect(table.client({ ...spec, address: 'unix:/run/x' }).server).toBeNull();
  });

  it('pins what is behind its server, and again behind the next one; each is undone once', async () => {
    const [first, second] = [new TestServer('first'), new TestServer('second', '10.0.0.2:1')];
    const client = table.client(spec);
    await client.reached(first);
    const unpin = await client.pin(kernel.task, { user: 'swap', nrUnits: 1 });
    const unpinOther = await client.pin(kernel.task, { user: 'bitmap', nrUnits: 1 });
    await unpinOther();
    await unpinOther();
    await client.reached(first); // a reconnect
    expect(first.log.splice(0)).toEqual(['pin disk for swap', 'pin disk for bitmap', 'unpin disk for bitmap']);
    first.leave();
    await client.reached(second);
    expect([first.log, second.log.splice(0)]).toEqual([['unpin disk for swap'], ['pin disk for swap']]);
    await unpin();
    await unpin();
    expect(second.log).toEqual(['unpin disk for swap']);
    expect(client.isPinned).toBe(false);
  });

  it('that two connections reach a server by at one time is pinned there once', async () => {
    const server = new TestServer('server');
    const client = table.client({ ...spec, address: '10.0.0.9:1' });
    const unpin = await client.pin(kernel.task, { user: 'swap', nrUnits: 1 }); // before any server is known
    await Promise.all([client.reached(server), client.reached(server), client.reached(server)]);
    await unpin();
    expect(server.log).toEqual(['pin disk for swap', 'unpin disk for swap']);
  });

  it('whose pin is undone while the next server pins has none left', async () => {
    const server = new TestServer('server');
    const client = table.client({ ...spec, address: '10.0.0.9:1' });
    const unpin = await client.pin(kernel.task, { user: 'swap', nrUnits: 1 });
    const reaching = client.reached(server);
    await Promise.all([unpin(), reaching]);
    expect([0, 2]).toContain(server.log.length); // not at all, or both ways
    expect(client.isPinned).toBe(false);
  });

  it('whose next server’s way out leads through it is refused there: its node is in the graph', async () => {
    const [first, second] = [new TestServer('first'), new TestServer('second', '10.0.0.2:1')];
    const node = nodeOf('client', 'block-device', 4);
    const client = table.client(spec);
    await client.reached(first);
    await kernel.reserves.admit(kernel.task, { candidates: [{ node: first.node }, { node }], edges: [[node, first.node]] });
    client.admitted(node);
    await kernel.reserves.admit(kernel.task, { candidates: [{ node: second.node }], edges: [[second.node, node]] });
    await expect(client.reached(second)).rejects.toMatchObject({ code: 'EDEADLK', details: { cycle: ['client', 'second', 'client'] } });
    expect(client.server).toBe(first);
    client.close();
    await expect(client.reached(second)).rejects.toMatchObject({ code: 'ECONNRESET' });
  });
});
