/** Does what a request asks, to an array that runs. One for both ways in: a kernel of the command's own, and a server's. */
import { type BlockDevice, type Kernel, KernelError } from '@tidemark/core';
import { type Raid1, raid1Of, type SyncProgress } from '@tidemark/md';
import { memberNamed } from './words.js';
import type { ArrayFacts, MdAnswer, MdRequest, MemberOutcome } from './requests.js';

/** Told now and then how far a pass is; null once it has ended. */
export type Tell = (progress: Readonly<SyncProgress> | null) => void;

/** An array, and who opened it. */
export interface Running {
  readonly kernel: Kernel;
  readonly device: BlockDevice;
  readonly raid: Raid1;
}

const TELL_EVERY_MS = 100;

/** The array that a device is, or null. */
export function runningOn(kernel: Kernel, device: BlockDevice): Running | null {
  try {
    return { kernel, device, raid: raid1Of(kernel, device) };
  } catch {
    return null;
  }
}

/** What `--json` prints of it. */
export function factsOf({ raid }: Running): ArrayFacts {
  const info = raid.info();
  return { ...info, events: Number(info.events) };
}

/** Does it. @throws KernelError of what is asked. */
export async function perform(running: Running, request: MdRequest, tell: Tell): Promise<MdAnswer> {
  const { raid } = running;
  const { lastSync: before } = raid.info();
  const members: MemberOutcome[] = [];
  for (const device of request.devices) members.push({ device, result: await onMember(running, request, device) });
  let sync: Readonly<SyncProgress> | null = null;
  const { verb, wait } = request;
  if (verb === 'check' || verb === 'repair') sync = await watched(raid, tell, () => raid.scrub(verb));
  else if (wait) sync = await watched(raid, tell, () => raid.waitForSync());
  return { arrays: [factsOf(running)], members, sync: sync === before ? null : sync };
}

async function onMember({ kernel, raid }: Running, { verb, force }: MdRequest, word: string): Promise<MemberOutcome['result']> {
  if (verb === 'add') {
    const device = await kernel.openBlockDevice(word);
    try {
      return await raid.add(device, { force, isOwned: true });
    } catch (error) {
      await device.close();
      throw error;
    }
  }
  const { members, refused, name } = raid.info();
  const member = memberNamed(word, members);
  if (verb === 'fail' && member !== null) {
    await raid.fail(member.name);
    return 'failed';
  }
  if (verb === 'remove' && member !== null) {
    await raid.remove(member.name);
    return 'removed';
  }
  // One that failed before the array was assembled is no part of it any more, which is what is asked for.
  if (memberNamed(word, refused) !== null) return verb === 'fail' ? 'failed' : 'removed';
  throw new KernelError('ENODEV', `${name} has no member ${word}; it has ${members.map((each) => each.name).join(', ')}`);
}

/** Does `work`, and tells how far the pass under way is meanwhile. */
async function watched<T>(raid: Raid1, tell: Tell, work: () => Promise<T>): Promise<T> {
  const look = (): void => {
    const { sync } = raid.info();
    if (sync !== null) tell(sync);
  };
  const done = work();
  look();
  const timer = setInterval(look, TELL_EVERY_MS);
  try {
    return await done;
  } finally {
    clearInterval(timer);
    tell(null);
  }
}
