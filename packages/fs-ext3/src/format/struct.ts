/**
 * Structures on disk as tables of fields, and the two ways between bytes and a plain object. What no field names is left as it is when a
 * structure is put, so that fields of later formats survive.
 */

/** Width and signedness of a number in bytes. */
export type FieldType = 'u8' | 'u16' | 's16' | 'u32' | 's32';

/** Offset in bytes, and type. */
export type Field = readonly [offset: number, type: FieldType];

export type Fields = Readonly<Record<string, Field>>;

/** The object a table of fields describes. */
export type StructOf<F extends Fields> = { -readonly [name in keyof F]: number };

/** A structure. */
export interface Struct<F extends Fields> {
  /** Reads every field. */
  get(view: DataView, at: number): StructOf<F>;
  /** Writes the fields that are given. */
  put(view: DataView, at: number, values: Partial<StructOf<F>>): void;
}

/** Makes a structure of a table; numbers are little-endian unless told. */
export function struct<F extends Fields>(fields: F, isBigEndian = false): Struct<F> {
  const entries = Object.entries(fields);
  return {
    get: (view, at) => Object.fromEntries(entries.map(([name, field]) => [name, getField(view, at, field, !isBigEndian)])) as StructOf<F>,
    put: (view, at, values) => {
      for (const name in values) putField(view, at, fields[name], values[name] as number, !isBigEndian);
    },
  };
}

function getField(view: DataView, base: number, [offset, type]: Field, isLittle: boolean): number {
  const at = base + offset;
  switch (type) {
    case 'u8':
      return view.getUint8(at);
    case 'u16':
      return view.getUint16(at, isLittle);
    case 's16':
      return view.getInt16(at, isLittle);
    case 'u32':
      return view.getUint32(at, isLittle);
    default:
      return view.getInt32(at, isLittle);
  }
}

function putField(view: DataView, base: number, [offset, type]: Field, value: number, isLittle: boolean): void {
  const at = base + offset;
  if (type === 'u8') view.setUint8(at, value);
  else if (type === 'u16' || type === 's16') view.setUint16(at, value, isLittle);
  else view.setUint32(at, value, isLittle);
}
