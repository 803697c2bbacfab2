/**
 * Cells: one u32 says where a page is. A PagedBuffer has one for each of its pages, a page cache one for each index entry, a swap area
 * one for each slot. A cell holds one kind of thing at a time; two tag bits, the lowest, tell the kinds apart.
 *
 *     0          nothing: never written, or forgotten
 *     pfn  | 01  the page is in this frame
 *     swap | 10  the page is in this slot: area 5 bits, slot 25 bits
 *     age  | 11  the page was evicted: a shadow, 29 bits of age and one bit "was in the working set" (M18)
 */

export const CellTag = { NONE: 0, FRAME: 1, SWAP: 2, SHADOW: 3 } as const;

/** A cell's value, unsigned. */
export type Cell = number;
/** A swap entry: area × 2^25 + slot. Never 0, because slot 0 is the header. */
export type SwapEntry = number;

export const SLOT_BITS = 25;
/** Most slots of one area: 128 GiB. */
export const MAX_SLOTS = 2 ** SLOT_BITS;
/** Most areas at once. */
export const MAX_AREAS = 32;
const SLOT_MASK = MAX_SLOTS - 1;

export const tagOf = (cell: Cell): number => cell & 3;
export const frameCell = (pfn: number): Cell => ((pfn << 2) | CellTag.FRAME) >>> 0;
export const swapCell = (entry: SwapEntry): Cell => ((entry << 2) | CellTag.SWAP) >>> 0;
export const shadowCell = (age: number, workingset: boolean): Cell => ((age << 3) | (workingset ? 4 : 0) | CellTag.SHADOW) >>> 0;
/** The frame number, swap entry or shadow payload of a cell. */
export const cellValue = (cell: Cell): number => cell >>> 2;
/** Age of a shadow, modulo 2^29. */
export const shadowAge = (cell: Cell): number => cell >>> 3;
export const shadowWorkingset = (cell: Cell): boolean => (cell & 4) !== 0;

export const swapEntry = (area: number, slot: number): SwapEntry => ((area << SLOT_BITS) | slot) >>> 0;
export const entryArea = (entry: SwapEntry): number => entry >>> SLOT_BITS;
export const entrySlot = (entry: SwapEntry): number => entry & SLOT_MASK;
