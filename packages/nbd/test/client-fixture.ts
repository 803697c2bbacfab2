/** What the tests of the client share: a kernel and a folder for each test, and everything opened closed again when it is over. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BlockDevice } from '@tidemark/core';
import type { NbdOpenOptions } from '@tidemark/nbd';
import { afterEach, beforeEach } from 'vitest';
import { type Script, ScriptedServer } from './scripted-server.js';
import { bootWorld, DeviceUser, expectClean, type World } from './support.js';

/** The kernel of the test that runs, and a folder for its sockets. */
export let world: World;
export let folder: string;
/** What the test has opened; undone in reverse when it is over. */
export const undo: (() => void | Promise<void>)[] = [];

beforeEach(async () => {
  world = await bootWorld();
  folder = mkdtempSync(join(tmpdir(), 'tidemark-nbd-'));
});

afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
  rmSync(folder, { recursive: true, force: true });
  await expectClean(world);
});

/** A server that says what it is told to. */
export async function scripted(script: Partial<Script> = {}): Promise<ScriptedServer> {
  const server = await ScriptedServer.start(script);
  undo.push(() => server.stop());
  return server;
}

/** Opens a device that is closed when the test is over. */
export async function open(uri: string, options: NbdOpenOptions = {}): Promise<BlockDevice> {
  const device = await world.kernel.openBlockDevice(uri, options);
  undo.push(() => device.close());
  return device;
}

/** Somebody who reads and writes a device. */
export async function userOf(device: BlockDevice, nrBuffers = 8, bufferBytes = 16384): Promise<DeviceUser> {
  const user = await DeviceUser.create(world.kernel, device, nrBuffers, bufferBytes);
  undo.push(() => user.dispose());
  return user;
}
