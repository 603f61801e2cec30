-- SPDX-License-Identifier: GPL-3.0-or-later
-- SPDX-FileCopyrightText: The gpufleet.ollama contributors
--
-- What HAProxy's own language cannot say: which model a body asks for, and lists of models. Lua 5.3.
--
-- Ollama reads a body with Go's encoding/json: of two keys that differ only in case the last one wins, a key may be
-- written with escapes, and what comes after the object is ignored. This file and Ollama must read the same model, so
-- every body that could be read in two ways is refused. The files of models and of what keys may use come from
-- plugin_utils/gateway/maps.py.

local listing_file, allowed_file = os.getenv("GATEWAY_LISTING"), os.getenv("GATEWAY_ALLOWED")

-- Steps of the reader for one body: 16 MiB of nothing but brackets must not keep HAProxy from its other connections.
-- HAProxy itself sets no limit (tune.lua.session-timeout): the answer must not depend on how busy the host is.
local MOST_STEPS = 400000
local LONGEST_MODEL = 512
local HOLD_SECONDS = tonumber(os.getenv("GATEWAY_HOLD") or "60")

-- Options with which Ollama loads a model anew (api/types.go: Runner), so that it leaves its GPUs for a time.
local LOADING = {
  num_ctx = true, num_batch = true, num_gpu = true, main_gpu = true, use_mmap = true, num_thread = true, numa = true,
  draft_num_predict = true,
}

local function refuse(words)
  error({ words = words }, 0)
end

-- Reader of one JSON text. It follows valid texts exactly; an invalid one it may take, and Ollama refuses it then.
local Reader = {}
Reader.__index = Reader

local function reader(text)
  return setmetatable({ text = text, at = 1, steps = 0 }, Reader)
end

function Reader:step()
  self.steps = self.steps + 1
  if self.steps > MOST_STEPS then refuse("the body has too many values") end
end

-- The next character that is no white space; nil at the end.
function Reader:peek()
  self.at = self.text:find("[^ \t\r\n]", self.at) or #self.text + 1
  return self.text:sub(self.at, self.at)
end

function Reader:take(wanted)
  if self:peek() ~= wanted then
    refuse("the body is not one whole JSON object")
  end
  self.at = self.at + 1
end

-- The text between the quotes of a string, as it is written.
function Reader:string()
  self:take('"')
  local begin = self.at
  while true do
    self:step()
    local found = self.text:find('["\\]', self.at)
    if not found then refuse("the body is not one whole JSON object") end
    if self.text:byte(found) == 34 then
      self.at = found + 1
      return self.text:sub(begin, found - 1)
    end
    self.at = found + 2
  end
end

local CLOSING = { ["{"] = "}", ["["] = "]" }

-- Go over a value without looking into it.
function Reader:skip()
  local open = {}
  repeat
    self:step()
    local char = self:peek()
    if char == '"' then
      self:string()
    elseif CLOSING[char] then
      open[#open + 1] = CLOSING[char]
      self.at = self.at + 1
    elseif #open > 0 and char == open[#open] then
      open[#open] = nil
      self.at = self.at + 1
    elseif #open > 0 and (char == "," or char == ":") then
      self.at = self.at + 1
    else
      local after = self.text:match("^[%w+.-]+()", self.at)
      if not after then refuse("the body is not one whole JSON object") end
      self.at = after
    end
  until #open == 0
end

-- Call visit(key) at the value of each member of an object; it goes over the value. Keys come in lower case.
function Reader:object(visit)
  self:take("{")
  if self:peek() == "}" then
    self.at = self.at + 1
    return
  end
  while true do
    local key = self:string()
    self:take(":")
    visit(key)
    if self:peek() == "}" then
      self.at = self.at + 1
      return
    end
    self:take(",")
  end
end

-- A model name: its characters are plain ASCII, which some encoders escape ("\/", "\u003a").
local function plain(text)
  text = text:gsub("\\(.)(%x?%x?%x?%x?)", function(kind, digits)
    if kind == "/" then return "/" .. digits end
    if kind == "u" and #digits == 4 and tonumber(digits, 16) < 127 then return string.char(tonumber(digits, 16)) end
    refuse("the name of the model has a character that no name has")
  end)
  if #text > LONGEST_MODEL or text:find("[^%w%._:/-]") then
    refuse("the name of the model has a character that no name has")
  end
  return text:lower()
end

-- Keys of the options of Ollama's own API. They are matched in any case, as Go does.
local function check_options(text)
  if text:peek() ~= "{" then return text:skip() end
  text:object(function(key)
    local name = key:lower()
    if key:find("[\\\128-\255]") or LOADING[name] then
      refuse("the option " .. name:gsub("[^%w_]", "?") .. " would load the model anew; it is set where the model is planned")
    end
    text:skip()
  end)
end

-- The model of a body in lower case.
-- Args: body; named: whether "name" is another word for "model", as for /api/show; loading: whether clients may use
-- what loads or unloads models (keep_alive and some options).
local function model_of(body, named, loading)
  local text, model = reader(body), nil
  if text:peek() ~= "{" then refuse("the body is not one whole JSON object") end
  text:object(function(key)
    if key:find("[\\\128-\255]") then refuse("a key of the body has an escape or a letter that is not ASCII") end
    local name = key:lower()
    if name == "model" or (named and name == "name") then
      if key ~= name then refuse("the key " .. name .. " must be written in lower case") end
      if model then refuse("the body names a model twice") end
      if text:peek() ~= '"' then refuse("the name of the model is not a string") end
      model = plain(text:string())
    elseif name == "keep_alive" and not loading then
      text:peek()
      -- Below zero is for ever; -0 is not.
      if not text.text:find('^"?%-[1-9]%d*[a-z]*["%s,}]', text.at) then
        refuse("keep_alive would unload the model for all clients; leave it out")
      end
      text:skip()
    elseif name == "options" and not loading then
      check_options(text)
    else
      text:skip()
    end
  end)
  if text:peek() ~= "" then refuse("the body goes on after its JSON object") end
  if not model or model == "" then refuse("the body names no model") end
  return model
end

-- Sets txn.model, or txn.refusal. HAProxy logs any other error and goes on with neither: the request is then refused as
-- one with which the gateway, and not its client, has failed.
local function read_model(txn, named, loading)
  local good, found = pcall(model_of, txn.f:req_body(), named == "named", loading == "loading")
  if good then
    txn:set_var("txn.model", found)
  elseif type(found) == "table" then
    txn:set_var("txn.refusal", found.words)
  else
    error(found, 0)
  end
end

-- Holds a request until a server of its backend is in rotation again: one that is drained for a switch comes back.
local function hold(txn)
  local backend, deadline = txn:get_var("txn.backend"), core.now().sec + HOLD_SECONDS
  while txn.f:nbsrv(backend) == 0 and core.now().sec < deadline do
    core.msleep(100)
  end
end

-- Lists -------------------------------------------------------------------------------------------------------------

-- Models in the order of the file: backend, name as clients see it, and its entries in the lists; and the same by what
-- a client may write for the name.
local models, by_spelling = {}, {}
if listing_file then
  for line in io.lines(listing_file) do
    local backend, name, tags, openai, ps, spellings =
      line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)$")
    if backend then
      local model = { backend = backend, name = name, tags = tags, openai = openai, ps = ps }
      models[#models + 1] = model
      for spelling in spellings:gmatch("%S+") do by_spelling[spelling] = model end
    end
  end
end

-- {name of a key: {backend: true}} for keys that may not use every model.
local allowed = {}
if allowed_file then
  for line in io.lines(allowed_file) do
    local key, backend = line:match("^([^/%s]+)/(%S+) ")
    if key then
      allowed[key] = allowed[key] or {}
      allowed[key][backend] = true
    end
  end
end

-- The models that the key of a request may use.
local function listed(applet)
  local may, found = nil, {}
  if applet:get_var("txn.restricted") then may = allowed[applet:get_var("txn.key") or ""] or {} end
  for _, model in ipairs(models) do
    if not may or may[model.backend] then found[#found + 1] = model end
  end
  return found
end

local function field(entries, name)
  local texts = {}
  for place, entry in ipairs(entries) do texts[place] = entry[name] end
  return table.concat(texts, ",")
end

local function answer(applet, status, body)
  applet:set_status(status)
  applet:add_header("content-type", "application/json; charset=utf-8")
  applet:add_header("content-length", tostring(#body))
  applet:start_response()
  if applet.method ~= "HEAD" then applet:send(body) end
end

local function list_tags(applet)
  answer(applet, 200, '{"models":[' .. field(listed(applet), "tags") .. "]}")
end

local function list_openai(applet)
  answer(applet, 200, '{"object":"list","data":[' .. field(listed(applet), "openai") .. "]}")
end

local function list_ps(applet)
  local found = {}
  for _, model in ipairs(listed(applet)) do
    if applet.f:nbsrv(model.backend) > 0 then found[#found + 1] = model end
  end
  answer(applet, 200, '{"models":[' .. field(found, "ps") .. "]}")
end

-- One model of /v1/models/NAME, by the name that is asked for: a backend has several.
local function show_openai(applet)
  local asked = by_spelling[applet:get_var("txn.model") or ""]
  for _, model in ipairs(listed(applet)) do
    if model == asked then return answer(applet, 200, model.openai) end
  end
  answer(applet, 404, '{"error":{"message":"model not found","type":"not_found_error"}}')
end

-- A model that nobody serves: the ones that are served.
local function not_found(applet)
  local names = {}
  for _, model in ipairs(listed(applet)) do names[#names + 1] = model.name end
  local words = ("model '%s' not found; served are: %s"):format(
    applet:get_var("txn.model") or "", #names > 0 and table.concat(names, ", ") or "none")
  answer(applet, 404, (applet:get_var("txn.open") or '{"error":"') .. words .. (applet:get_var("txn.close") or '"}'))
end

if core then
  core.register_action("read_model", { "http-req" }, read_model, 2)
  core.register_action("hold", { "http-req" }, hold)
  core.register_service("list_tags", "http", list_tags)
  core.register_service("list_openai", "http", list_openai)
  core.register_service("list_ps", "http", list_ps)
  core.register_service("show_openai", "http", show_openai)
  core.register_service("not_found", "http", not_found)
end

return { model_of = model_of }
