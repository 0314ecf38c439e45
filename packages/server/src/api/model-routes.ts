import type { Context } from 'hono'
import type { ApiContext } from './api-context.js'
import type { ApiEnvironment } from './api-environment.js'
import { requireModel } from './generation-plan.js'

/** GET /v1/models: the one model, and what it takes. */
export function listModels(c: Context<ApiEnvironment>, context: ApiContext): Response {
  return c.json({ object: 'list', data: [modelCard(context)] })
}

/** GET /v1/models/NAME; names may have slashes. */
export function getModel(c: Context<ApiEnvironment>, context: ApiContext): Response {
  requireModel(c.req.param('name'), context)
  return c.json(modelCard(context))
}

function modelCard({ modelName, created, engine }: ApiContext): object {
  const { maxTokens, minTopK, maxTopK, attention, dense } = engine.limits
  return {
    id: modelName,
    object: 'model',
    created,
    owned_by: 'phsa',
    max_model_len: maxTokens,
    phsa: { default: attention === 'dense' ? { dense: true } : attention, min_top_k: minTopK, max_top_k: maxTopK, dense },
  }
}
