/**
 * `@tidemark/testkit/conformance`: the rules that a filesystem or block device plugin must keep, as cases for any test runner.
 *
 *     import { describe, it } from 'node:test';                    // or from 'vitest'
 *     import { describeFileSystem } from '@tidemark/testkit/conformance';
 *
 *     describeFileSystem({ name: 'myfs', plugins: [myfs], create: ({ kernel }) => kernel.mount('myfs:64MiB', '/'), supports: {} }, { describe, it });
 *
 * Every case is named by the rule it checks, and fails with a `ConformanceFailure` that says the rule. `TIDEMARK_RUNS=10` does ten times as
 * much of what is done at random.
 *
 * @packageDocumentation
 */
import type { ConformanceCase, TestRunner } from '../conformance/case.js';
import type { BlockDeviceSubject } from '../conformance/block-stage.js';
import { blockDeviceCases as blockCasesOn, describeBlockDevice as describeBlocksOn } from '../conformance/describe-block-device.js';
import { describeFileSystem as describeOn, fileSystemCases as casesOn } from '../conformance/describe-file-system.js';
import type { FileSystemSubject, SuiteOptions } from '../conformance/subject.js';
import { drainReactions } from './explore.js';

export * from '../conformance/index.js';

/** Multiplies what is done at random; from the environment, else 1. */
function effortOf(options: SuiteOptions): number {
  return options.effort ?? Math.max(1, Math.floor(Number(process.env.TIDEMARK_RUNS ?? 1)) || 1);
}

/** Cases for a filesystem, each named by the rule it checks: for a runner of your own, or for `failuresOf`. */
export function fileSystemCases(subject: FileSystemSubject, options: SuiteOptions = {}): ConformanceCase[] {
  return casesOn(subject, { ...options, effort: effortOf(options), afterReactions: drainReactions });
}

/** Gives the cases of a filesystem to a test runner. */
export function describeFileSystem(subject: FileSystemSubject, runner: TestRunner, options: SuiteOptions = {}): void {
  describeOn(subject, runner, { ...options, effort: effortOf(options), afterReactions: drainReactions });
}

/** Cases for a block device, as `fileSystemCases`. */
export function blockDeviceCases(subject: BlockDeviceSubject, options: SuiteOptions = {}): ConformanceCase[] {
  return blockCasesOn(subject, { ...options, effort: effortOf(options), afterReactions: drainReactions });
}

/** Gives the cases of a block device to a test runner. */
export function describeBlockDevice(subject: BlockDeviceSubject, runner: TestRunner, options: SuiteOptions = {}): void {
  describeBlocksOn(subject, runner, { ...options, effort: effortOf(options), afterReactions: drainReactions });
}
