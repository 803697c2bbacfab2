/**
 * Error: a device that fails by rule. A rule says which requests it looks at (operation, range) and which of those fail: the n-th, every n-th,
 * some at random; without any of that, all. The first rule that a request fails by counts, and every rule counts the requests it looked at.
 *
 * A request that fails before it is passed on has not happened; one that fails `after` has happened below and is told otherwise, as when an
 * answer is lost.
 */
import { Errno, KernelError, type NegErrno } from '../../base/errno.js';
import { BIO_OP_NAMES, type Bio, BioOp } from '../bio.js';
import { Filter, type FilterParts } from './filter.js';
import type { FilterKind } from './filter-kind.js';
import type { FilterRequest } from './filter-request.js';
import { Fractions } from './fractions.js';
import { settingCount, settingNumber } from './settings.js';

/** What a device may say. */
export type DeviceErrorName = 'EIO' | 'ENOSPC' | 'ETIMEDOUT' | 'EROFS';
const ERROR_NAMES: readonly string[] = ['EIO', 'ENOSPC', 'ETIMEDOUT', 'EROFS'] satisfies DeviceErrorName[];

/** Most rules of one device. */
export const ERROR_RULES_MAX = 64;

export interface ErrorRule {
  /** Default: every operation. */
  readonly op?: (typeof BIO_OP_NAMES)[number];
  /** Requests that touch bytes from here, default 0, … */
  readonly fromBytes?: number;
  /** … to here, this one not among them; default the end. With a range, flushes are not looked at. */
  readonly toBytes?: number;
  /** The n-th of those fails, from 1 on. */
  readonly nth?: number;
  /** Each n-th of those fails. */
  readonly every?: number;
  /** Each of those fails with this probability, from the kernel's source of randomness. */
  readonly rate?: number;
  /** Fails so many times and then no more. Default: no limit. */
  readonly times?: number;
  /** Default `EIO`. */
  readonly error?: DeviceErrorName;
  /** Fails when it was done below. Default false. */
  readonly after?: boolean;
}

export interface ErrorOptions {
  /** At most 64; the first that applies counts. Default: none. */
  readonly rules?: readonly ErrorRule[];
}

class ActiveRule {
  /** Requests it has looked at, and let fail. */
  nrSeen = 0;
  nrFailed = 0;
  readonly status: NegErrno;
  readonly #op: number;

  constructor(
    name: string,
    readonly rule: ErrorRule,
  ) {
    const { op, error = 'EIO' } = rule;
    this.#op = op === undefined ? -1 : BIO_OP_NAMES.indexOf(op);
    if (op !== undefined && this.#op < 0)
      throw new KernelError('EINVAL', `${name}: ${String(op)} is no operation; want ${BIO_OP_NAMES.join(', ')}`);
    if (!ERROR_NAMES.includes(error))
      throw new KernelError('EINVAL', `${name}: ${String(error)} is no error of a device; want ${ERROR_NAMES.join(', ')}`);
    for (const key of ['nth', 'every', 'times'] as const) settingCount(name, key, rule[key] ?? 1, 1, Number.MAX_SAFE_INTEGER);
    for (const key of ['fromBytes', 'toBytes'] as const) settingCount(name, key, rule[key] ?? 0, 0, Number.MAX_SAFE_INTEGER);
    settingNumber(name, 'rate', rule.rate ?? 0, 0, 1);
    this.status = -Errno[error];
  }

  looksAt(bio: Bio): boolean {
    const { fromBytes, toBytes } = this.rule;
    if (this.#op >= 0 && bio.op !== this.#op) return false;
    if (fromBytes === undefined && toBytes === undefined) return true;
    if (bio.op === BioOp.FLUSH) return false;
    return bio.offsetBytes < (toBytes ?? Infinity) && bio.offsetBytes + bio.lengthBytes > (fromBytes ?? 0);
  }

  /** For one more request that it looks at. */
  fails(chance: Fractions): boolean {
    const { nth, every, rate, times = Infinity } = this.rule;
    this.nrSeen++;
    if (this.nrFailed >= times) return false;
    if (nth !== undefined && this.nrSeen !== nth) return false;
    if (every !== undefined && this.nrSeen % every !== 0) return false;
    if (rate !== undefined && chance.next() >= rate) return false;
    this.nrFailed++;
    return true;
  }
}

export class ErrorFilter extends Filter {
  #rules: ActiveRule[];
  readonly #chance: Fractions;

  /** @throws KernelError EINVAL for rules that are none, ENOMEM. */
  constructor(parts: FilterParts, { rules = [] }: ErrorOptions) {
    const active = activeRules(parts.name, rules);
    super(parts, parts.below[0]);
    this.#rules = active;
    this.#chance = new Fractions(parts.random);
  }

  /** Replaces the rules; counting begins again. @throws KernelError EINVAL for rules that are none; then the old ones stay. */
  setRules(rules: readonly ErrorRule[]): void {
    this.#rules = activeRules(this.name, rules);
  }

  /** Requests that each rule has looked at and let fail. */
  explain(): { readonly rule: ErrorRule; readonly nrSeen: number; readonly nrFailed: number }[] {
    return this.#rules.map(({ rule, nrSeen, nrFailed }) => ({ rule, nrSeen, nrFailed }));
  }

  protected override admitted(request: FilterRequest): void {
    let by: ActiveRule | null = null;
    for (const rule of this.#rules) if (rule.looksAt(request.parent) && rule.fails(this.#chance)) by ??= rule;
    if (by === null) this.pass(request);
    else if (by.rule.after === true) {
      request.verdict = by.status;
      this.pass(request);
    } else this.end(request, by.status);
  }
}

function activeRules(name: string, rules: readonly ErrorRule[]): ActiveRule[] {
  if (rules.length > ERROR_RULES_MAX) throw new KernelError('EINVAL', `${name}: ${rules.length} rules, at most ${ERROR_RULES_MAX}`);
  return rules.map((rule) => new ActiveRule(name, rule));
}

/** `error:op=write,nth=3,error=ENOSPC:LOWER`: one rule. */
export const errors: FilterKind<ErrorOptions> = {
  scheme: 'error',
  settings: ['op', 'fromBytes', 'toBytes', 'nth', 'every', 'rate', 'times', 'error', 'after'],
  parse: (settings) => ({
    rules: [
      {
        op: settings.text('op') as ErrorRule['op'],
        fromBytes: settings.number('fromBytes'),
        toBytes: settings.number('toBytes'),
        nth: settings.number('nth'),
        every: settings.number('every'),
        rate: settings.number('rate'),
        times: settings.number('times'),
        error: settings.text('error') as ErrorRule['error'],
        after: settings.flag('after'),
      },
    ],
  }),
  create: (parts, options) => new ErrorFilter(parts, options),
};
