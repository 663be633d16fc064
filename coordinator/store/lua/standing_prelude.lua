-- Whom to trust with how much work, judged by what was seen of a node and never by what it claims.
--
-- relay:standing:{node}   hash  of a key, whatever its sessions; kept for POLICY.standing_ttl after its last sign-in
--   condition   gpus: the ids that it signed in with, one a line   refused:{model} refused_ms:{model}
--   record   pace:{model}: see record_from and pace_from (pace_prelude.lua)
-- relay:gpu:{id}          hash  condition until_ms trips tripped_ms of the last node that was suspended on it. Ids are a
--   machine's secrets: nobody but its own node tells us them, so nobody can have another's machine suspended
-- relay:suspended:{model} set   those of relay:serving:{model} that are suspended
-- relay:refused:{node}    set   callers whose requests the node refused lately
-- relay:accused:{node}    hash  client whose task went wrong there lately -> when the last one did that counted
-- relay:notices           list  JSON, what an operator should hear of; the next sweep takes them
-- relay:worked            string counts what nodes were given; relay:node:{node} has worked: the count when it was last given something

local STANDING_TTL = math.floor(POLICY.standing_ttl / 1000)
local PRIOR = 4     -- as many successes is a node credited with that nobody knows
local RECENT = 0.95  -- of the breaker's counts is left with each outcome: the last twenty are what matters, however much went well before
local STEP = math.log(1.25)  -- nodes closer than this are as good as each other, and take turns
local TURNS = 4398046511104  -- 2^42: above every count of attempts

local function standing(node) return 'relay:standing:' .. node end
local function decimal(x) return string.format('%.4f', x) end

-- A record is as of counted_ms. Decaying: successes faults timeouts, and good bad, see RECENT, which start again with a suspension. streak: bad ones in
-- a row. silent_ms: when it last fell silent. until_ms: the end of its last suspension, of trips, the last begun at tripped_ms. well:
-- attempts that went well on probation.
local function record_from(text)
  local v = text and cjson.decode(text) or {NOW, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  local left = fade(v[1])
  return {successes = v[2] * left, faults = v[3] * left, timeouts = v[4] * left, good = v[5] * left, bad = v[6] * left,
    streak = v[7], silent_ms = v[8], until_ms = v[9], trips = v[10], tripped_ms = v[11], well = v[12], paces = {}}
end

local function record_of(s)
  return cjson.encode({NOW, s.successes, s.faults, s.timeouts, s.good, s.bad, s.streak, s.silent_ms, s.until_ms, s.trips, s.tripped_ms, s.well})
end

-- What is known of a node, read once a script; and its pace with a model.
local SEEN = {}
local function standing_of(node, model)
  local s = SEEN[node]
  if s and (not model or s.paces[model]) then return s end
  local v = redis.call('HMGET', standing(node), 'condition', 'record', 'pace:' .. (model or ''))
  if not s then
    s = record_from(v[2])
    s.condition, SEEN[node] = v[1] or 'good', s
  end
  if model then s.paces[model] = pace_from(v[3]) end
  return s
end

local function keep_standing(node, s, ...)
  redis.call('HSET', standing(node), 'condition', s.condition, 'record', record_of(s), ...)
end

local function notice(what)
  redis.call('LPUSH', 'relay:notices', cjson.encode(what))
  redis.call('LTRIM', 'relay:notices', 0, 99)
end

-- ── the circuit breaker ──────────────────────────────────────────────────

local function become(s, target)
  if not MOVES.standing[s.condition][target] then error('ILLEGAL standing ' .. s.condition .. ' -> ' .. target) end
  s.condition = target
end

local function tell_gpus(node, s)
  for id in string.gmatch(redis.call('HGET', standing(node), 'gpus') or '', '[^\n]+') do
    redis.call('HSET', 'relay:gpu:' .. id, 'condition', s.condition, 'until_ms', int(s.until_ms), 'trips', int(s.trips),
      'tripped_ms', int(s.tripped_ms))
    redis.call('EXPIRE', 'relay:gpu:' .. id, STANDING_TTL)
  end
end

-- Whether half of a model's nodes are out, with so many `more`.
local function most_out(model, more)
  return 2 * (redis.call('SCARD', 'relay:suspended:' .. model) + more) > redis.call('SCARD', 'relay:serving:' .. model)
end

-- Twice as long each time, except where half of a model's nodes would be out by it: it may be the requests, or us, so it isn't counted.
local function suspend(node, s, model, why)
  if NOW - s.tripped_ms > POLICY.trips_forgotten then s.trips = 0 end
  local many = most_out(model, 1)
  local pause = many and POLICY.suspension or math.min(POLICY.suspension * 2 ^ s.trips, POLICY.longest_suspension)
  become(s, 'suspended')
  s.until_ms, s.trips, s.tripped_ms = NOW + pause, s.trips + (many and 0 or 1), NOW
  s.good, s.bad, s.streak, s.well = 0, 0, 0, 0
  tell_gpus(node, s)
  notice({event = 'node_suspended', node = node, ms = pause, why = why})
end

-- What one more attempt, opened at `opened`, makes of a node's condition. What was opened before its last suspension's end says
-- nothing new.
local function judge(node, s, well, opened, model, why)
  if s.condition == 'suspended' or opened < s.until_ms then return end
  if s.condition == 'probation' then
    if not well then return suspend(node, s, model, why) end
    s.well = s.well + 1
    if s.well < POLICY.probation_good then return end
    become(s, 'good')
    s.good, s.bad, s.streak, s.well = 0, 0, 0, 0
    tell_gpus(node, s)
    notice({event = 'node_trusted_again', node = node})
  elseif not well then
    local most = s.bad > POLICY.breaker_bad - 1 and s.bad > s.good
    if most or s.streak >= POLICY.breaker_bad then suspend(node, s, model, why) end
  end
end

-- Of `slots`, those that the node may use now, and its condition: one that nobody knows gets more as its answers come. A suspension whose time is up ends here; a long one is cut short when
-- the others have gone meanwhile.
local function allowance(node, slots, model)
  local s = standing_of(node, model)
  if s.condition == 'good' then return math.min(slots, POLICY.untried + math.floor(s.successes + 0.5)), s.condition end
  if s.condition == 'suspended' then
    if s.until_ms > NOW + POLICY.suspension and most_out(model, 0) then
      s.until_ms = NOW + POLICY.suspension
      keep_standing(node, s)
    end
    if NOW < s.until_ms then return 0, s.condition end
    become(s, 'probation')
    keep_standing(node, s)
  end
  return 1, s.condition
end

-- A node signs in with these GPUs. A key that comes to a machine gets what is known of that machine; a known key on another
-- machine has to show itself there first. Those that stay together stay as they are, however often they sign in.
local function recognise(node, ids)
  local named = {}
  for _, id in ipairs(ids) do
    if type(id) == 'string' and string.match(id, '^[%w%-]+$') then table.insert(named, id) end
  end
  table.sort(named)
  local s, gpus, known = standing_of(node), table.concat(named, '\n'), redis.call('HGET', standing(node), 'gpus')
  if known ~= gpus then
    for _, id in ipairs(named) do
      local g = redis.call('HMGET', 'relay:gpu:' .. id, 'condition', 'until_ms', 'trips', 'tripped_ms')
      if g[1] and g[1] ~= 'good' then
        if s.condition ~= g[1] and s.condition ~= 'suspended' then become(s, g[1]) end
        s.until_ms = math.max(s.until_ms, tonumber(g[2]))
        s.trips, s.tripped_ms = math.max(s.trips, tonumber(g[3])), math.max(s.tripped_ms, tonumber(g[4]))
      end
    end
    if known and known ~= '' and s.condition == 'good' then
      become(s, 'probation')
      s.until_ms = NOW
    end
  end
  keep_standing(node, s, 'gpus', gpus)
  redis.call('EXPIRE', standing(node), STANDING_TTL)
end

local function stop_serving(node, model)
  redis.call('SREM', 'relay:serving:' .. model, node)
  redis.call('SREM', 'relay:suspended:' .. model, node)
end

-- Why a node that has room by its own count, of `slots`, gets nothing more, or nil.
local function distrust(node, slots, model)
  local allowed, condition = allowance(node, slots, model)
  if condition == 'suspended' then return 'SUSPENDED' end
  if redis.call('SCARD', 'relay:held:' .. node) < allowed then return nil end
  if condition == 'probation' then return 'PROBATION' end
  if allowed < slots then return 'UNTRIED' end
end

-- ── whom to choose ───────────────────────────────────────────────────────

-- A node's place among the free ones of a model: the lowest is chosen. By the time that a typical answer takes on it, beside the
-- mean over all nodes, to which a measurement drifts back as it ages, so that what was slow once is tried again; by its load, `held` of
-- `allowed`; by the square of its success rate. Equals take turns: the one longest without work comes first.
local function rank(node, model, held, allowed, worked)
  local s, all = standing_of(node, model), pace_of_model(model)
  local own, slower = s.paces[model], 0
  if own.first > 0 and all.first > 0 then
    slower = math.log(expected(own, all.tokens) / expected(all, all.tokens)) * own.left * own.answered / (own.answered + 1)
  end
  local rate = (s.successes + PRIOR) / (s.successes + s.faults + s.timeouts + PRIOR)
  local score = slower + math.log(1 + held / allowed) - 2 * math.log(rate)
  return int(math.floor(score / STEP + 0.5) * TURNS + worked)
end

-- ── the record ───────────────────────────────────────────────────────────

-- One more in a decaying count that nothing else shares; returns it.
local function count_one(key, name, stamp)
  local v = redis.call('HMGET', key, name, stamp)
  local n = (tonumber(v[1]) or 0) * fade(tonumber(v[2])) + 1
  redis.call('HSET', key, name, decimal(n), stamp, int(NOW))
  return n
end

-- Whether a node blames clients that others serve: by callers and not by requests, since one caller may well be wrong every time.
local function blames_clients(node, model, caller)
  if redis.call('SADD', 'relay:refused:' .. node, caller) == 0 then return false end
  redis.call('PEXPIRE', 'relay:refused:' .. node, POLICY.half_life)
  local speed = 'relay:speed:' .. model
  local mine = count_one(standing(node), 'refused:' .. model, 'refused_ms:' .. model)
  local theirs = count_one(speed, 'refused', 'refused_ms') - mine
  local mine_well = standing_of(node, model).paces[model].answered
  local theirs_well = pace_of_model(model).answered - mine_well
  local much, rate = POLICY.breaker_bad - 0.5, mine / (mine + mine_well)
  return mine > much and mine > mine_well and theirs_well > much and 4 * theirs / (theirs + theirs_well) < rate
end

-- Whether what went wrong with `t`, see `note`, counts for the breaker. What a node had of one client at the same time does once: it may be
-- one request, sent many times, and by the time that others had it too it is excused. No request keeps a node from naming it, or from a
-- first token for that its length has been allowed for.
local function weighs(node, t, opened, outcome)
  local client, mute = t[6], t[7] == 'assigned' or t[8] and t[8] ~= '' and not t[4]
  if outcome == 'silent' or outcome == 'refused' or outcome == 'late' and mute then return true end
  local accused = 'relay:accused:' .. node
  if opened < tonumber(redis.call('HGET', accused, client) or '0') then return false end
  redis.call('HSET', accused, client, int(NOW))
  redis.call('PEXPIRE', accused, POLICY.half_life)
  return true
end

-- What became of an attempt, which is still the task's newest: 'completed' (`tokens_out`: as counted by the coordinator) | 'fault' (it said
-- so, or its answer was broken) | 'silent' (its lease ran out) | 'late' (a stage's deadline passed) | 'refused' (it blamed the client).
-- Nobody is blamed for what was handed back, nor twice for one silence, nor for a task that has failed elsewhere before: that may be
-- the request's doing. Returns whether the node is trusted with more or less now.
local function note(node, id, number, outcome, tokens_out)
  if not outcome or string.sub(node, 1, 2) ~= '0x' then return false end
  local t = redis.call('HMGET', task(id), 'model', 'caller', 'assigned_ms', 'answering:' .. int(number), 'tried', 'client', 'state',
    'first_token_ms')
  local model, opened = t[1], tonumber(t[3])
  local s = standing_of(node, model)
  local timed = outcome == 'completed' and not were_away(opened)
  if timed then
    local own, all = s.paces[model], pace_of_model(model)
    local first, total, tokens = tonumber(t[4] or NOW) - opened, NOW - opened, tonumber(tokens_out) or 0
    measure(own, WINDOW, first, total, tokens)
    measure(all, MODEL_WINDOW, first, total, tokens)
    redis.call('HSET', 'relay:speed:' .. model, 'pace', pace_as_text(all))
  end
  if outcome == 'refused' then
    if not blames_clients(node, model, t[2]) then return false end
    notice({event = 'node_refuses_much', node = node, model = model})
  elseif outcome ~= 'completed' and t[5] and t[5] ~= '' then return false end

  local before, well = s.condition, outcome == 'completed'
  if outcome == 'silent' then
    if NOW - s.silent_ms < POLICY.lease then return false end
    s.silent_ms = NOW
  end
  local count = well and 'successes' or (outcome == 'silent' or outcome == 'late') and 'timeouts' or 'faults'
  local counts = well or weighs(node, t, opened, outcome)
  s[count] = s[count] + 1
  if not well then redis.call('HSET', task(id), 'blamed', node .. ' ' .. count .. ' ' .. (counts and 1 or 0)) end
  if counts then
    s.good, s.bad = s.good * RECENT, s.bad * RECENT
    if well then s.good, s.streak = s.good + 1, 0 else s.bad, s.streak = s.bad + 1, s.streak + 1 end
    judge(node, s, well, opened, model, outcome)
  end
  if timed then keep_standing(node, s, 'pace:' .. model, pace_as_text(s.paces[model])) else keep_standing(node, s) end
  return s.condition ~= before
end

-- A task is given up: where several nodes have failed it, the one that was blamed is so no longer. A client that asks for more than fits
-- into the time that an attempt has, again and again, suspends nobody by it; nor one that takes its task back (`canceled`) before anybody
-- else has tried it.
local function excuse(id, canceled)
  local t = redis.call('HMGET', task(id), 'blamed', 'tried')
  local node, count, counted = string.match(t[1] or '', '^(%S+) (%a+) (%d)$')
  if not node then return end
  local alone = true
  for other in string.gmatch(t[2] or '', '%S+') do alone = alone and other == node end
  if alone and not canceled then return end
  local s = standing_of(node)
  s[count], s.bad, s.streak = math.max(s[count] - 1, 0), math.max(s.bad - counted, 0), math.max(s.streak - counted, 0)
  keep_standing(node, s)
end
