/** What a stall report says of NBD: a reply that never comes, a connection that is lost, and a server of the same kernel. */
import { Bio, BioOp } from '@tidemark/core';
import { NbdServer } from '@tidemark/nbd';
import { expect, it } from 'vitest';
import { open, scripted, undo, world } from './client-fixture.js';
import { TestDisk, waitFor } from './support.js';

/** Begins a flush; it is over when the test is. */
function flush(device: Awaited<ReturnType<typeof open>>): Promise<number> {
  const ended = Promise.resolve(device.submitAndWait(world.kernel.task, new Bio(0).start(BioOp.FLUSH, 0)));
  undo.push(async () => void (await ended));
  return ended;
}

it('leads to the reply that a server owes, and to the connection once it is lost', async () => {
  const server = await scripted({ onRequest: () => {} });
  const device = await open(server.uri, { reconnectTimeoutMs: 300 });
  expect(world.kernel.stallReport()).toMatchObject({ waiters: [], ends: [] });
  const ended = flush(device);
  const bio = `bio: flush on ${device.name}`;
  const report = world.kernel.stallReport();
  const path = ['task: kernel', bio, `block-device: ${device.name}`, `reply: of ${device.name}`];
  expect(report.edges).toEqual(path.slice(1).map((to, i) => [path[i], to]));
  expect(report.ends).toEqual([`reply: of ${device.name}`]);
  await server.stop();
  await waitFor('the loss to be seen', () => world.kernel.stallReport().ends[0] !== report.ends[0]);
  expect(world.kernel.stallReport().ends).toEqual([`connection: to ${device.name}, which is lost`]);
  expect(await ended).toBeLessThan(0);
  expect(world.kernel.stallReport()).toMatchObject({ waiters: [], ends: [] });
});

it('leads through a server of the same kernel to the device that it serves', async () => {
  const { kernel } = world;
  const late: (() => void)[] = [];
  const served = kernel.attach(new TestDisk(kernel, { sizeBytes: 65_536, late: (end) => late.push(end) }));
  const server = await NbdServer.listen(kernel, { address: '127.0.0.1:0', exports: { disk: served } });
  const device = await open(server.uri);
  const ended = flush(device);
  await waitFor('the flush to arrive', () => late.length > 0);
  const report = kernel.stallReport();
  expect(report.ends).toEqual([`block-device: ${served.name}`]);
  const path = ['task: kernel', `bio: flush on ${device.name}`, `block-device: ${device.name}`];
  const serverName = kernel.graph().nodes.find(({ kind }) => kind === 'server')?.name;
  path.push(`server: ${serverName}`, `block-device: ${served.name}`);
  for (let i = 1; i < path.length; i++) expect(report.edges).toContainEqual([path[i - 1], path[i]]);
  late.shift()?.();
  expect(await ended).toBe(0);
  await device.close();
  const closed = server.close();
  await waitFor('the last flush', () => late.length > 0);
  late.shift()?.();
  await closed;
});
