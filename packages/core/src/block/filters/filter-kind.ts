/** A kind of filter: how it is named, and how one is made. */
import type { MaybePromise } from '../../base/maybe-promise.js';
import type { BlockDevice } from '../block-device.js';
import type { Filter, FilterParts } from './filter.js';
import type { Settings } from './settings.js';

export interface FilterKind<Options> {
  /** `delay` of `delay:mem:64MiB`. */
  readonly scheme: string;
  /** Names of its settings. */
  readonly settings: readonly string[];
  /** @throws KernelError EINVAL for values that are none. */
  parse(settings: Settings): Options;
  /** True if the device below may be opened read-only although the filter is to be written. Absent: never. */
  sparesLower?(options: Options): boolean;
  /**
   * A second device, below the filter as the first is: one that is open and stays the caller's, or the name of one that is opened for it. Absent:
   * it needs none.
   */
  second?(options: Options, lower: BlockDevice): BlockDevice | string;
  /** @throws KernelError EINVAL for options that are none, ENOMEM. */
  create(parts: FilterParts, options: Options): MaybePromise<Filter>;
}
