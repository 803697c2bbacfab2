/** The conformance suite for block devices on an array of two simulated disks. */
import { assembleArray, createArray, md } from '@tidemark/md';
import { type BlockDeviceSubject, describeBlockDevice } from '@tidemark/testkit/conformance';
import { describe, it } from 'vitest';

const raid1: BlockDeviceSubject = {
  name: 'RAID1',
  plugins: [md],
  create: async ({ kernel, disk, isFresh }) =>
    (isFresh ? createArray : assembleArray)(kernel, [disk('a'), disk('b')], { name: 'md:array' }),
  supports: { crash: true, late: true },
  memoryBytes: 2 ** 22,
};

describeBlockDevice(raid1, { describe, it });
