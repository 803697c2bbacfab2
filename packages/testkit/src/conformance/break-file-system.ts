/** Takes one rule away from a filesystem, from outside: its operations are called through others that do something else. */
import {
  type AddressSpaceOperations,
  type DependencyContainer,
  definePlugin,
  FILE_SYSTEM,
  type FileSystemType,
  type Inode,
  KERNEL,
  type Kernel,
  type Plugin,
  type SuperblockOps,
} from '@tidemark/core';
import type { FileSystemRule } from './rules.js';
import type { FileSystemSupports } from './subject.js';

/** What is done instead. What is absent is done as before. */
export interface FileSystemDefect {
  /** The rule that is broken. */
  readonly rule: FileSystemRule;
  /** What it does wrong, in a few words. */
  readonly what: string;
  /** Claims without which nobody would notice. */
  readonly needs?: readonly (keyof FileSystemSupports)[];
  /** What it claims falsely. */
  readonly claims?: FileSystemSupports;
  ops?(ops: SuperblockOps, kernel: Kernel): Partial<SuperblockOps>;
  pages?(pages: AddressSpaceOperations, inode: Inode, kernel: Kernel): Partial<AddressSpaceOperations>;
}

/** `target` with some of its members replaced. Methods that are left are called on `target` itself, whose private fields they need. */
function overlay<T extends object>(target: T, others: Partial<T>): T {
  return new Proxy(target, {
    get(_, key) {
      if (Object.hasOwn(others, key)) return others[key as keyof T];
      const value = target[key as keyof T] as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** A plugin that registers what `plugin` does, with a defect in its filesystems. */
export function breakFileSystem(plugin: Plugin, defect: FileSystemDefect): Plugin {
  const broken = (c: DependencyContainer, type: FileSystemType): FileSystemType => ({
    schemes: type.schemes,
    async mount(task, source, options) {
      const kernel = c.resolve<Kernel>(KERNEL);
      const ops = await type.mount(task, source, options);
      const changed = defect.ops?.(ops, kernel) ?? {};
      if (defect.pages === undefined) return overlay(ops, changed);
      const { pages } = defect;
      return overlay(ops, {
        ...changed,
        addressSpace: (inode) => {
          const space = ops.addressSpace(inode);
          return overlay(space, pages(space, inode, kernel));
        },
      });
    },
  });
  return definePlugin({
    ...plugin,
    register(container) {
      const intercepting = overlay<DependencyContainer>(container, {
        register: ((token: never, provider: { useFactory?: (c: DependencyContainer) => FileSystemType; useValue?: FileSystemType }) => {
          if (token !== (FILE_SYSTEM as unknown)) return container.register(token, provider as never);
          const make = (c: DependencyContainer): FileSystemType => provider.useFactory?.(c) ?? (provider.useValue as FileSystemType);
          return container.register<FileSystemType>(token, { useFactory: (c) => broken(c, make(c)) });
        }) as DependencyContainer['register'],
      });
      plugin.register(intercepting);
    },
  });
}
