/** JSON Schemas that are plain forms: an object of texts, numbers, yes and no, and choices. */

import { isObject } from '../arcp/wire';

export interface Field {
  name: string;
  title: string;
  type: 'string' | 'number' | 'integer' | 'boolean';
  options?: string[];
  isRequired: boolean;
}

const TYPES = ['string', 'number', 'integer', 'boolean'] as const;

/** The fields of a schema; `undefined` for one that is more than that. */
export function fields(schema: unknown): Field[] | undefined {
  if (!isObject(schema) || !isObject(schema.properties)) return undefined;
  const required = Array.isArray(schema.required) ? schema.required : [];
  const found: Field[] = [];
  for (const [name, property] of Object.entries(schema.properties)) {
    if (!isObject(property)) return undefined;
    const options = Array.isArray(property.enum) ? property.enum : undefined;
    const type = TYPES.find((type) => type === property.type) ?? (options ? 'string' : undefined);
    if (!type || (options && !options.every((option) => typeof option === 'string'))) return undefined;
    found.push({
      name,
      title: typeof property.title === 'string' ? property.title : name,
      type,
      options: options as string[] | undefined,
      isRequired: required.includes(name),
    });
  }
  return found;
}
