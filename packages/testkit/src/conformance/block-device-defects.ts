/** Takes one rule away from a block device, from outside, as `breakFileSystem` does with filesystems. */
import { type Bio, BioOp, type BlockDevice, type BlockDeviceOps, Errno, Gfp, type Kernel, PAGE_SIZE } from '@tidemark/core';
import type { BlockDeviceRule } from './rules.js';

/** What is done instead of handing a request on. */
export interface BlockDeviceDefect {
  readonly rule: BlockDeviceRule;
  readonly what: string;
  /** It shows only on a device that stands on disks that can crash. */
  readonly needsCrash?: boolean;
  /** What the device says of itself falsely. */
  readonly says?: Partial<Pick<BlockDeviceOps, 'trusted' | 'can'>>;
  /** @param pass hands the request on. */
  submit?(bio: Bio, pass: (bio: Bio) => void, kernel: Kernel): void;
  close?(close: () => Promise<void>): Promise<void>;
}

/** Memory of a request. */
function segment(kernel: Kernel, bio: Bio, i: number): Uint8Array {
  return kernel.memory.arena.view(bio.addresses[i], bio.lengths[i]);
}

/** Every defect there is for block devices. */
export const BLOCK_DEVICE_DEFECTS: readonly BlockDeviceDefect[] = [
  {
    rule: 'reads-what-was-written',
    what: 'the last block is never written',
    submit(bio, pass) {
      if (bio.op === BioOp.WRITE && bio.offsetBytes > 100 * PAGE_SIZE) bio.end(0);
      else pass(bio);
    },
  },
  {
    rule: 'writes-touch-only-their-range',
    what: 'a write of one block writes another, too',
    submit(bio, pass) {
      if (bio.op === BioOp.WRITE && bio.lengthBytes < PAGE_SIZE && bio.offsetBytes > 0) bio.offsetBytes -= bio.lengthBytes;
      pass(bio);
    },
  },
  {
    rule: 'segments-go-in-order',
    what: 'two segments of a write change places',
    submit(bio, pass) {
      if (bio.op === BioOp.WRITE && bio.nrSegments > 1) {
        const [first, second] = bio.addresses;
        const [a, b] = bio.lengths;
        bio.addresses.set([second, first]);
        bio.lengths.set([b, a]);
      }
      pass(bio);
    },
  },
  {
    rule: 'ends-each-request-once',
    what: 'a read clears its memory once more, later',
    submit(bio, pass, kernel) {
      if (bio.op === BioOp.READ) {
        const bytes = segment(kernel, bio, 0);
        kernel.clock.setTimer(1_000, () => bytes.fill(0));
      }
      pass(bio);
    },
  },
  {
    rule: 'requests-do-not-mix',
    what: 'a read that comes during another gets its bytes',
    submit: ((): BlockDeviceDefect['submit'] => {
      let reading: Bio | null = null;
      return (bio, pass) => {
        if (bio.op === BioOp.READ && reading?.isInFlight && reading.lengthBytes === bio.lengthBytes) bio.offsetBytes = reading.offsetBytes;
        if (bio.op === BioOp.READ) reading = bio;
        pass(bio);
      };
    })(),
  },
  {
    rule: 'flushed-content-survives-a-crash',
    what: 'a flush is said to have ended, and was none',
    needsCrash: true,
    submit: (bio, pass) => (bio.op === BioOp.FLUSH ? bio.end(0) : pass(bio)),
  },
  {
    rule: 'fua-is-durable-when-it-ends',
    what: 'force unit access is ignored',
    needsCrash: true,
    submit(bio, pass) {
      bio.fua = false;
      pass(bio);
    },
  },
  { rule: 'trusted-means-durable', what: 'it says it is trusted, and forgets', needsCrash: true, says: { trusted: true } },
  {
    rule: 'zeroes-are-zeroes',
    what: 'zeroes are not written',
    submit: (bio, pass) => (bio.op === BioOp.WRITE_ZEROES ? bio.end(0) : pass(bio)),
  },
  {
    rule: 'needs-no-memory',
    what: 'a write takes a frame for a moment',
    submit(bio, pass, kernel) {
      if (bio.op === BioOp.WRITE) {
        const pfn = kernel.memory.allocator.allocPage(kernel.task, Gfp.TRANSIENT);
        if (pfn < 0) {
          bio.end(-Errno.ENOMEM);
          return;
        }
        kernel.memory.allocator.freePage(pfn);
      }
      pass(bio);
    },
  },
  {
    rule: 'closing-ends-what-is-in-flight',
    what: 'reads answer after it is closed as if it were open',
    close: async (close) => {
      await close();
      throw new Error('it could not be closed');
    },
  },
];

/** A device like another, with a defect. It takes the other's place; closing it closes both. */
export function breakBlockDevice(kernel: Kernel, below: BlockDevice, defect: BlockDeviceDefect): BlockDevice {
  const { sizeBytes, blockSizeBytes, maxTransferBytes, readOnly, viaSocket } = below;
  const pass = (bio: Bio): void => below.ops.submit(bio);
  return kernel.attach({
    apiVersion: 1,
    name: `broken ${below.name}`,
    sizeBytes,
    blockSizeBytes,
    maxTransferBytes,
    readOnly,
    viaSocket,
    trusted: defect.says?.trusted ?? below.trusted,
    can: defect.says?.can ?? below.can,
    submit: (bio) => (defect.submit === undefined ? pass(bio) : defect.submit(bio, pass, kernel)),
    close: () => (defect.close === undefined ? below.ops.close() : defect.close(() => below.ops.close())),
  });
}
