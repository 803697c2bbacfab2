/** Every operation, by opcode. INIT, FORGET and INTERRUPT are the dispatcher's own. */
import { Opcode } from '../../protocol/constants.js';
import type { Operation } from '../call.js';
import { ATTRIBUTE_OPERATIONS } from './attributes.js';
import { DIRECTORY_OPERATIONS } from './directories.js';
import { FILE_OPERATIONS } from './files.js';
import { LOCK_OPERATIONS } from './locks.js';
import { NAME_OPERATIONS } from './names.js';

/** Linux's ENOTTY: no device, no ioctl. */
const ENOTTY = 25;

const ioctl: Operation = {
  // biome-ignore lint/correctness/useYield: nothing is waited for
  *run() {
    return -ENOTTY;
  },
};

const destroy: Operation = {
  // biome-ignore lint/correctness/useYield: nothing is waited for
  *run() {
    return 0;
  },
};

export const OPERATIONS: ReadonlyMap<number, Operation> = new Map([
  ...NAME_OPERATIONS,
  ...ATTRIBUTE_OPERATIONS,
  ...FILE_OPERATIONS,
  ...DIRECTORY_OPERATIONS,
  ...LOCK_OPERATIONS,
  [Opcode.IOCTL, ioctl],
  [Opcode.DESTROY, destroy],
]);
