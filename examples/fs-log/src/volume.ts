/** A mounted log, as its parts share it. */
import type { BlockDevice, DeviceIo, Kernel, Memory, TaskContext, WriteoutNode } from '@tidemark/core';
import type { Log } from './log.js';
import type { Room } from './node.js';
import type { Space } from './space.js';

export interface Volume {
  readonly name: string;
  readonly kernel: Kernel;
  readonly memory: Memory;
  readonly device: BlockDevice;
  readonly io: DeviceIo;
  readonly space: Space;
  readonly room: Room;
  readonly log: Log;
  /** The node whose unit writes pages. */
  readonly dataNode: WriteoutNode;
  /** Empties a segment. Never fails: what it cannot move stays. */
  clean(task: TaskContext): Promise<void>;
  /** Gives everything back, the device excepted. */
  takeDown(): void;
}
