/** Group descriptors: 32 bytes each, little-endian, in the blocks after the superblock's. */
import { KernelError } from '@tidemark/core';
import { type Geometry, GROUP_DESCRIPTOR_BYTES, groupBlocks, groupStart, superblockOverhead } from './geometry.js';
import { type StructOf, struct } from './struct.js';

const FIELDS = {
  blockBitmap: [0x0, 'u32'],
  inodeBitmap: [0x4, 'u32'],
  inodeTable: [0x8, 'u32'],
  freeBlocksCount: [0xc, 'u16'],
  freeInodesCount: [0xe, 'u16'],
  usedDirsCount: [0x10, 'u16'],
} as const;

/** Blocks and counts of one group. */
export type GroupDescriptor = StructOf<typeof FIELDS>;

const STRUCT = struct(FIELDS);

/** Puts a descriptor into a block of the table. */
export function putGroupDescriptor(view: DataView, at: number, descriptor: Partial<GroupDescriptor>): void {
  STRUCT.put(view, at, descriptor);
}

/**
 * The descriptor of `group` in `view`, a block of the table.
 * @throws KernelError EUCLEAN naming the group and the field that points out of it.
 */
export function getGroupDescriptor(name: string, geometry: Geometry, view: DataView, group: number): GroupDescriptor {
  const at = (group % geometry.descriptorsPerBlock) * GROUP_DESCRIPTOR_BYTES;
  const descriptor = STRUCT.get(view, at);
  const first = groupStart(geometry, group) + superblockOverhead(geometry, group);
  const end = groupStart(geometry, group) + groupBlocks(geometry, group);
  const insist = (holds: boolean, field: keyof GroupDescriptor): void => {
    if (!holds)
      throw new KernelError('EUCLEAN', `${name}: the ${field} of group ${group} is ${descriptor[field]}, which cannot be`, {
        details: { group, field },
      });
  };
  const isInside = (block: number, count: number): boolean => block >= first && block + count <= end;
  insist(isInside(descriptor.blockBitmap, 1), 'blockBitmap');
  insist(isInside(descriptor.inodeBitmap, 1) && descriptor.inodeBitmap !== descriptor.blockBitmap, 'inodeBitmap');
  const table = descriptor.inodeTable;
  const tableEnd = table + geometry.inodeTableBlocks;
  const isInTable = (block: number): boolean => block >= table && block < tableEnd;
  insist(
    isInside(table, geometry.inodeTableBlocks) && !isInTable(descriptor.blockBitmap) && !isInTable(descriptor.inodeBitmap),
    'inodeTable',
  );
  insist(descriptor.freeBlocksCount <= groupBlocks(geometry, group), 'freeBlocksCount');
  insist(descriptor.freeInodesCount <= geometry.inodesPerGroup, 'freeInodesCount');
  insist(descriptor.usedDirsCount <= geometry.inodesPerGroup, 'usedDirsCount');
  return descriptor;
}
