/** The suite for filesystems: every case that its claims call for. */
import { type ConformanceCase, CaseList, register, type TestRunner } from './case.js';
import { same } from './expect.js';
import { addCrashCases, addHandleCases, addPersistenceCases } from './durability-cases.js';
import { type DetectedSupport, detectSupport } from './detect.js';
import { addPosixCases, addReadOnlyCases, addRefusalCases } from './posix-cases.js';
import { addConcurrencyCases, addIoFaultCases, addMemoryCases } from './random-cases.js';
import { addFootprintCases, addPinCases } from './reserve-cases.js';
import { Theatre } from './stage.js';
import type { FileSystemSubject, SuiteOptions } from './subject.js';
import type { SimulateOptions } from '../simulation/simulate.js';

/** Crash points of a run that a unit test has time for. */
const CRASH_POINTS_MAX = 40;

/** How the suites are run where no host is known. */
export interface HostedSuiteOptions extends SuiteOptions {
  /** Calls its argument from a fresh task of the host's loop, see `simulate`. */
  readonly afterReactions: SimulateOptions['afterReactions'];
}

/** Cases for a filesystem, each named by the rule it checks. */
export function fileSystemCases(subject: FileSystemSubject, options: HostedSuiteOptions): ConformanceCase[] {
  const { seed = 1, effort = 1, crashPointsMax = CRASH_POINTS_MAX * effort } = options;
  const list = new CaseList(subject.name);
  const theatre = new Theatre(subject, options.afterReactions);
  const { supports, diskBytes } = subject;
  list.add('claims-are-what-it-can-do', 'each claim is tried', () =>
    theatre.run({ seed }, async ({ kernel, files }) => {
      const found = await detectSupport(kernel, '/');
      const claimed: DetectedSupport = {
        readOnly: supports.readOnly ?? false,
        hardLinks: supports.hardLinks ?? false,
        symlinks: supports.readOnly === true ? false : (supports.symlinks ?? false),
        specialFiles: supports.specialFiles ?? false,
        xattrs: supports.xattrs ?? false,
        exchange: supports.exchange ?? false,
        punch: supports.punch ?? false,
        pinnedFiles: supports.pinnedFiles ?? false,
      };
      same(sorted(found), sorted(claimed), 'what it can do and what it claims');
      if (supports.readOnly !== true) same(await files.readdir('/'), [], 'names afterwards');
    }),
  );
  if (supports.readOnly) addReadOnlyCases(list, theatre, seed);
  else {
    addPosixCases(list, theatre, seed);
    addRefusalCases(list, theatre, seed);
    addConcurrencyCases(list, theatre, seed, effort);
    addMemoryCases(list, theatre, seed, effort);
    if (supports.handles) addHandleCases(list, theatre, seed);
    if (supports.persistent) addPersistenceCases(list, theatre, seed);
    if (diskBytes !== undefined) addIoFaultCases(list, theatre, seed, effort);
    if (supports.crashConsistent) addCrashCases(list, theatre, { seed, effort, crashPointsMax });
    if (supports.pinnedFiles) addPinCases(list, theatre, seed);
  }
  addFootprintCases(list, theatre, seed);
  return list.cases;
}

function sorted(support: DetectedSupport): unknown {
  return Object.entries(support).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Gives the cases of a filesystem to a test runner. */
export function describeFileSystem(subject: FileSystemSubject, runner: TestRunner, options: HostedSuiteOptions): void {
  register(`${subject.name} keeps the rules of a filesystem`, fileSystemCases(subject, options), runner);
}
