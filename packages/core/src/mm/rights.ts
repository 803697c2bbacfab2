/**
 * Rights across local edges (M16): a server of this kernel keeps a unit for each unit of every node that needs it, so that a request of its own
 * kernel always finds one. Checked when nodes and edges are admitted; frames do not cross, each node charges its own account.
 */
import { KernelError } from '../base/errno.js';
import type { WriteoutEdge, WriteoutGraph } from './writeout-graph.js';

/**
 * Checks edges that are in the graph already. Only nodes that declare `unitsForClients` are servers.
 * @throws KernelError ENOMEM naming both nodes and their units, on the error as `details` too.
 */
export function checkRights(graph: WriteoutGraph, edges: readonly WriteoutEdge[]): void {
  for (const [client, server] of edges) {
    const kept = server.footprint.unitsForClients;
    if (kept === undefined) continue;
    const wanted = client.footprint.nrUnits;
    const others = graph.predecessorsOf(server).filter((node) => node !== client);
    const left = others.reduce((units, node) => units - node.footprint.nrUnits, kept);
    if (left >= wanted) continue;
    const taken = others.length === 0 ? '' : `, of which ${kept - left} are those of ${others.map(({ name }) => name).join(', ')}`;
    throw new KernelError(
      'ENOMEM',
      `${client.name} cannot be a client of ${server.name}: it has ${wanted} units, and ${server.name} keeps ${kept} for nodes of this kernel${taken}`,
      { details: { client: client.name, server: server.name, wantedUnits: wanted, availableUnits: left } },
    );
  }
}
