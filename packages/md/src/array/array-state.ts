/**
 * What an array is, now: its members by slot, its events, and up to where the members are known to be equal. Everything that the superblocks
 * say is made from here.
 */
import { type BlockDevice, KernelError } from '@tidemark/core';
import { SECTOR_BYTES } from '../format/fields.js';
import { Role, type Superblock } from '../format/superblock.js';
import type { Member } from './member.js';

export class ArrayState {
  readonly name: string;
  readonly setUuid: Uint8Array;
  readonly setName: string;
  readonly createdMs: number;
  readonly sizeSectors: number;
  readonly raidDisks: number;
  readonly slots: (Member | null)[];
  /** Every member that is part of the array: those in slots, spares, and faulty ones that were not removed. */
  readonly members: Member[] = [];
  /** Role of device numbers without a member here. */
  readonly absentRoles: Uint16Array;
  events: bigint;
  /** Sectors from which on members that are in sync may differ; null: nowhere. */
  resyncFrom: number | null;
  /** The same, as far as it is durable: what the superblocks say. */
  #storedResyncFrom: number;
  /** Data may be under way: what the superblocks call dirty. */
  isActive = false;
  /** Sectors to the internal bitmap; null: there is none. */
  bitmapOffset: number | null;
  /** Superblocks can be written to no member that has the data. */
  isBroken = false;

  constructor(
    readonly displayName: string,
    freshest: Superblock,
  ) {
    this.name = displayName;
    this.setUuid = freshest.setUuid;
    this.setName = freshest.name;
    this.createdMs = freshest.createdMs;
    this.sizeSectors = freshest.sizeSectors;
    this.raidDisks = freshest.raidDisks;
    this.slots = new Array<Member | null>(freshest.raidDisks).fill(null);
    this.events = freshest.events;
    this.resyncFrom = freshest.resyncOffset;
    this.#storedResyncFrom = freshest.resyncOffset ?? 0;
    this.bitmapOffset = freshest.bitmapOffset;
    this.absentRoles = freshest.roles.map((role) => (role < Role.JOURNAL ? Role.FAULTY : role));
  }

  get sizeBytes(): number {
    return this.sizeSectors * SECTOR_BYTES;
  }

  /** Members in sync. */
  get nrInSync(): number {
    let count = 0;
    for (const member of this.slots) if (member?.state === 'in-sync') count++;
    return count;
  }

  /** True if a slot has no member that is in sync. */
  get isDegraded(): boolean {
    return this.nrInSync < this.raidDisks;
  }

  /** True if every slot has a member that is written. */
  get isEverySlotWritten(): boolean {
    for (const member of this.slots) if (member === null || !member.isWritten) return false;
    return true;
  }

  /** The member that others are made equal to: of those in sync, the one in the lowest slot that can be read there. */
  sourceOf(offsetBytes: number, lengthBytes: number): Member | null {
    for (const member of this.slots) if (member?.canRead(offsetBytes, lengthBytes)) return member;
    return null;
  }

  /** Puts a member where it belongs. */
  place(member: Member, slot: number): void {
    member.slot = slot;
    this.slots[slot] = member;
  }

  /** Takes a member out of its slot. */
  drop(member: Member): void {
    if (this.slots[member.slot] === member) this.slots[member.slot] = null;
  }

  /** A slot without a member that is written, or −1. */
  get emptySlot(): number {
    return this.slots.findIndex((member) => member === null || !member.isWritten);
  }

  /** The member on a device, or on one of that name. @throws KernelError ENODEV. */
  memberOn(device: BlockDevice | string): Member {
    const member = this.members.find((each) => each.device === device || each.name === device);
    if (member === undefined)
      throw new KernelError('ENODEV', `${this.name} has no member ${typeof device === 'string' ? device : device.name}`);
    return member;
  }

  /** How far passes are now. @returns what makes that what the superblocks say: to be called once what was copied is durable. */
  markProgress(): () => void {
    const { resyncFrom } = this;
    const members = [...this.members];
    const offsets = members.map((member) => member.recoveryOffset);
    return () => {
      if (resyncFrom !== null) this.#storedResyncFrom = resyncFrom;
      for (const [i, member] of members.entries()) member.storedOffset = Math.min(offsets[i], member.recoveryOffset);
    };
  }

  /** The superblock of a member as it should be. */
  superblockOf(member: Member, nowMs: number): Superblock {
    const roles = this.absentRoles.slice();
    for (const each of this.members) roles[each.devNumber] = each.role;
    const isRecovering = member.state === 'recovering';
    return {
      ...member.superblock,
      setUuid: this.setUuid,
      name: this.setName,
      createdMs: this.createdMs,
      updatedMs: nowMs,
      sizeSectors: this.sizeSectors,
      raidDisks: this.raidDisks,
      bitmapOffset: this.bitmapOffset,
      recoveryOffset: isRecovering ? member.storedOffset : null,
      isRecoveryByBitmap: isRecovering && member.isRecoveryByBitmap,
      nrCorrectedReads: member.nrCorrectedReads,
      events: this.events,
      resyncOffset: this.isActive ? 0 : this.resyncFrom === null ? null : this.#storedResyncFrom,
      roles,
    };
  }
}
