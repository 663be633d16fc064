-- How fast nodes are with a model, as this coordinator saw it: time to the first token, and tokens/s.
--
-- relay:speed:{model}     hash  over all nodes: pace; refused, as of refused_ms
--
-- Numbers in JSON, which Redis reads and writes in C: a third of what as many fields of a hash cost. Their tables are written out, here and
-- in standing_prelude.lua, since filling them in a loop costs five times as much.

local WINDOW = 9    -- a measurement is a tenth of a node's mean, a fiftieth of a model's
local MODEL_WINDOW = 49

-- What is left of a count that was made at `at` (ms).
local function fade(at) return 0.5 ^ (math.max(NOW - (at or NOW), 0) / POLICY.half_life) end

-- A pace is as of at. answered: how many, decaying (`left` of them since then). first (ms to the first token), tps (tokens/s over whole
-- attempts), tokens (of an answer): geometric means, which one slow answer hardly moves; 0 is unknown.
local function pace_from(text)
  if not text then return {left = 1, answered = 0, first = 0, tps = 0, tokens = 0} end
  local v = cjson.decode(text)
  local left = fade(v[1])
  return {left = left, answered = v[2] * left, first = v[3], tps = v[4], tokens = v[5]}
end

local function pace_as_text(p) return cjson.encode({NOW, p.answered, p.first, p.tps, p.tokens}) end

local PACES = {}
local function pace_of_model(model)
  PACES[model] = PACES[model] or pace_from(redis.call('HGET', 'relay:speed:' .. model, 'pace'))
  return PACES[model]
end

local function blend(mean, weight, x) return mean > 0 and math.exp((weight * math.log(mean) + math.log(x)) / (weight + 1)) or x end

-- One more answer of `tokens` (0: none were counted), whose first came after `first` ms of `total`.
local function measure(p, window, first, total, tokens)
  local weight = math.min(p.answered, window)
  p.first = blend(p.first, weight, math.max(first, 1))
  if tokens > 0 then
    p.tps = blend(p.tps, weight, tokens * 1000 / math.max(total, 1))
    p.tokens = blend(p.tokens, weight, tokens)
  end
  p.answered, p.left = p.answered + 1, 1
end

-- Whether we were away while an attempt ran that was `opened` then: how long it took says nothing of its node.
local function were_away(opened)
  local t = redis.call('MGET', 'relay:swept_ms', 'relay:excused_ms')
  return NOW - tonumber(t[1] or NOW) > 2 * POLICY.heartbeat or opened < tonumber(t[2] or '0') - POLICY.lease
end

-- How long an answer of `tokens` takes at this pace, in ms; what is quicker than the noise of this machine is equally quick.
local function expected(p, tokens)
  local whole = p.tps > 0 and tokens * 1000 / p.tps or 0
  return math.max(p.first, whole, POLICY.noise)
end
